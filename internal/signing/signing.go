// Package signing signs models and verifies their signatures in the format of OpenSSF Model
// Signing 1.0: a detached bundle that holds a DSSE envelope, whose payload is an in-toto
// statement with the digest of each of the model's files.
// https://github.com/ossf/model-signing-spec/blob/main/spec/v1.0.md
//
// It exists because a pinned digest says that the bytes are the ones that were pinned, and not
// who vouches for them: whoever can write the host file can pin other bytes, but can't sign
// them. Signatures are made and verified by keys alone. Certificates and Sigstore's keyless
// signing need an authority that a private host can't be expected to reach; their bundles are
// refused with an error that says so.
package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// Names of the format, from the specification.
const (
	mediaType       = "application/vnd.dev.sigstore.bundle.v0.3+json"
	mediaTypePrefix = "application/vnd.dev.sigstore.bundle"
	payloadType     = "application/vnd.in-toto+json"
	statementType   = "https://in-toto.io/Statement/v1"
	predicateType   = "https://model_signing/signature/v1.0"
	hashType        = "sha256"
	methodFiles     = "files"
)

// Suffix is how the name of a signature's file ends.
const Suffix = ".sig"

// MaxBundle is the largest bundle that is read, in bytes. A file takes some 150 of them, so
// that a repository of 100,000 files fits.
const MaxBundle = 32 << 20

// ErrNotSigned is the error of a model that isn't what a good signature vouches for.
var ErrNotSigned = errors.New("the model is not the signed one")

// ErrSignature is the error of a bundle whose signature isn't one by the key.
var ErrSignature = errors.New("the signature is not good")

// ErrUnsupported is the error of a bundle that may be good and that can't be verified here.
var ErrUnsupported = errors.New("this kind of signature can't be verified")

// File is a file of a model.
type File struct {
	Name   string // relative to the model, with slashes; of a single file, its own name
	SHA256 string // lower-case hexadecimal
}

// Statement is what a signature vouches for.
type Statement struct {
	Name   string // the model's, for people
	Files  []File // sorted by name
	Ignore []string
}

// ignored is left out of every model, at its top level (specification, 6.2).
var ignored = []string{".git", ".gitattributes", ".github", ".gitignore"}

type bundle struct {
	MediaType string    `json:"mediaType"`
	Material  material  `json:"verificationMaterial"`
	Envelope  *envelope `json:"dsseEnvelope"`
}

type material struct {
	PublicKey   *publicKey      `json:"publicKey,omitempty"`
	Chain       json.RawMessage `json:"x509CertificateChain,omitempty"`
	Certificate json.RawMessage `json:"certificate,omitempty"`
}

type publicKey struct {
	Hint string `json:"hint,omitempty"`
}

type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

type predicate struct {
	Resources     []resource    `json:"resources"`
	Serialization serialization `json:"serialization"`
}

type resource struct {
	Name      string `json:"name"`
	Digest    string `json:"digest"`
	Algorithm string `json:"algorithm"`
}

type serialization struct {
	Method        string   `json:"method"`
	HashType      string   `json:"hash_type"`
	AllowSymlinks bool     `json:"allow_symlinks"`
	IgnorePaths   []string `json:"ignore_paths,omitempty"`
}

// Sign returns the bundle that vouches for a model's files. Name is the base name of the
// model's file or folder. Files that the format leaves out (.git and the like) are left out.
func Sign(name string, files []File, key *ecdsa.PrivateKey) ([]byte, error) {
	fingerprint, err := Fingerprint(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	p := predicate{Serialization: serialization{Method: methodFiles, HashType: hashType, IgnorePaths: ignored}}
	for _, f := range files {
		if leftOut(f.Name, ignored) {
			continue
		}
		if err := validName(f.Name); err != nil {
			return nil, err
		}
		if !validDigest(f.SHA256) {
			return nil, fmt.Errorf("the digest of %q is not a SHA-256: %q", f.Name, f.SHA256)
		}
		p.Resources = append(p.Resources, resource{Name: f.Name, Digest: f.SHA256, Algorithm: hashType})
	}
	if len(p.Resources) == 0 {
		return nil, errors.New("there is no file to sign")
	}
	slices.SortFunc(p.Resources, func(a, b resource) int { return strings.Compare(a.Name, b.Name) })
	payload, err := json.Marshal(statement{
		Type:          statementType,
		Subject:       []subject{{Name: name, Digest: map[string]string{"sha256": rootDigest(p.Resources)}}},
		PredicateType: predicateType,
		Predicate:     p,
	})
	if err != nil {
		return nil, fmt.Errorf("write the statement: %w", err)
	}
	sealed, err := seal(payloadType, payload, key)
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(bundle{
		MediaType: mediaType,
		Material:  material{PublicKey: &publicKey{Hint: fingerprint}},
		Envelope:  sealed,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the bundle: %w", err)
	}
	return append(text, '\n'), nil
}

// Verify checks that a bundle was signed with the private half of key, and returns what it
// vouches for. Errors are ErrSignature, or ErrUnsupported for a method that needs an authority.
func Verify(text []byte, key *ecdsa.PublicKey) (*Statement, error) {
	if len(text) > MaxBundle {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrSignature, MaxBundle)
	}
	var b bundle
	if err := decode(text, &b); err != nil {
		return nil, fmt.Errorf("%w: it is no bundle of OpenSSF Model Signing: %w", ErrSignature, err)
	}
	switch {
	case !strings.HasPrefix(b.MediaType, mediaTypePrefix):
		return nil, fmt.Errorf("%w: it is no Sigstore bundle, its media type is %q", ErrSignature, b.MediaType)
	case b.Envelope == nil:
		return nil, fmt.Errorf("%w: the bundle holds no envelope", ErrSignature)
	case b.Material.PublicKey == nil && (b.Material.Chain != nil || b.Material.Certificate != nil):
		return nil, fmt.Errorf("%w: it was made with a certificate; sign the model with a key (llmhost model sign)", ErrUnsupported)
	case b.Material.PublicKey == nil:
		return nil, fmt.Errorf("%w: the bundle doesn't name a key", ErrSignature)
	case b.Envelope.PayloadType != payloadType:
		return nil, fmt.Errorf("%w: its payload is %q and not an in-toto statement", ErrSignature, b.Envelope.PayloadType)
	}
	fingerprint, err := Fingerprint(key)
	if err != nil {
		return nil, err
	}
	// Bundles from before 1.1 of the reference implementation have no hint.
	if hint := b.Material.PublicKey.Hint; hint != "" && hint != fingerprint {
		return nil, fmt.Errorf("%w: it was made with the key %s, and %s is the one that is trusted", ErrSignature, short(hint), short(fingerprint))
	}
	payload, ok := b.Envelope.open(key)
	if !ok {
		return nil, fmt.Errorf("%w: it was not made with the key %s, or what it signs was changed", ErrSignature, short(fingerprint))
	}
	return read(payload)
}

// read checks a statement whose signature is good.
func read(payload []byte) (*Statement, error) {
	var s statement
	if err := decode(payload, &s); err != nil {
		return nil, fmt.Errorf("%w: what was signed is no in-toto statement: %w", ErrSignature, err)
	}
	serial := s.Predicate.Serialization
	switch {
	case s.Type != statementType:
		return nil, fmt.Errorf("%w: what was signed is a %q and not an in-toto statement", ErrSignature, s.Type)
	case s.PredicateType != predicateType:
		return nil, fmt.Errorf("%w: what was signed is a %q and not a model", ErrSignature, s.PredicateType)
	case len(s.Subject) != 1 || s.Subject[0].Name == "":
		return nil, fmt.Errorf("%w: the statement has %d subjects, and a model has one with a name", ErrSignature, len(s.Subject))
	case len(s.Predicate.Resources) == 0:
		return nil, fmt.Errorf("%w: the statement names no file", ErrSignature)
	case serial.Method != methodFiles:
		return nil, fmt.Errorf("%w: it signs digests of %q and not of whole files; sign the model with llmhost model sign", ErrUnsupported, serial.Method)
	case serial.HashType != hashType:
		return nil, fmt.Errorf("%w: its digests are %q and not SHA-256; sign the model with llmhost model sign", ErrUnsupported, serial.HashType)
	}
	out := &Statement{Name: s.Subject[0].Name, Ignore: append(slices.Clone(ignored), serial.IgnorePaths...)}
	seen := map[string]bool{}
	for _, r := range s.Predicate.Resources {
		// Before 1.0, the reference implementation called a single file ".".
		if err := validName(r.Name); err != nil && !(r.Name == "." && len(s.Predicate.Resources) == 1) {
			return nil, fmt.Errorf("%w: %w", ErrSignature, err)
		}
		if r.Algorithm != hashType || !validDigest(r.Digest) {
			return nil, fmt.Errorf("%w: the digest of %q is not a SHA-256", ErrSignature, r.Name)
		}
		if seen[r.Name] {
			return nil, fmt.Errorf("%w: it names %q twice", ErrSignature, r.Name)
		}
		seen[r.Name] = true
		out.Files = append(out.Files, File{Name: r.Name, SHA256: r.Digest})
	}
	slices.SortFunc(out.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// CoversFile checks that a single file's digest is one that the statement vouches for. The
// file's name is no matter: on a host it has the model's.
func (s *Statement) CoversFile(sha256 string) error {
	for _, f := range s.Files {
		if f.SHA256 == sha256 {
			return nil
		}
	}
	return fmt.Errorf("%w: its SHA-256 is %s, which the signature doesn't name", ErrNotSigned, sha256)
}

// CoversFolder checks that a folder has exactly the files that the statement vouches for.
// signature is the bundle's own name, if it lies in the folder.
func (s *Statement) CoversFolder(files []File, signature string) error {
	signed := map[string]string{}
	for _, f := range s.Files {
		signed[f.Name] = f.SHA256
	}
	for _, f := range files {
		want, ok := signed[f.Name]
		delete(signed, f.Name)
		switch {
		case ok && want != f.SHA256:
			return fmt.Errorf("%w: %q has the SHA-256 %s, and %s is signed", ErrNotSigned, f.Name, f.SHA256, want)
		case !ok && f.Name != signature && !leftOut(f.Name, s.Ignore):
			return fmt.Errorf("%w: the signature doesn't name %q", ErrNotSigned, f.Name)
		}
	}
	for _, f := range s.Files {
		if _, missing := signed[f.Name]; missing {
			return fmt.Errorf("%w: %q is signed and missing", ErrNotSigned, f.Name)
		}
	}
	return nil
}

// rootDigest is the digest of the sorted files' digests (specification, 6.5.1).
func rootDigest(resources []resource) string {
	h := sha256.New()
	for _, r := range resources {
		raw, _ := hex.DecodeString(r.Digest) // validDigest has let it through
		h.Write(raw)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// leftOut reports whether a file is, or is below, one of the paths.
func leftOut(name string, paths []string) bool {
	return slices.ContainsFunc(paths, func(p string) bool {
		return name == p || strings.HasPrefix(name, p+"/")
	})
}

// validName refuses names that aren't canonical (specification, 6.1.2).
func validName(name string) error {
	if name == "" || name == "." || name == ".." || !utf8.ValidString(name) || path.IsAbs(name) || path.Clean(name) != name ||
		strings.HasPrefix(name, "../") || strings.ContainsRune(name, 0) {
		return fmt.Errorf("%q is not a file's name relative to the model", name)
	}
	return nil
}

func validDigest(s string) bool {
	if len(s) != sha256.Size*2 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !('0' <= r && r <= '9' || 'a' <= r && r <= 'f') })
}

// decode reads one JSON value and nothing after it.
func decode(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows it")
	}
	return nil
}

func short(fingerprint string) string { return fingerprint[:min(len(fingerprint), 16)] }
