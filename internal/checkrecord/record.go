// Package checkrecord is what a host is told to hold of its models: a file for each, which the
// host's own checks read when llmhost isn't connected and which people can read too.
//
// It exists because a model has to be checked at every start of its server and every few days,
// by the host alone, against what the host file said and not against what is found there.
package checkrecord

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// Folder holds the records on a host.
const Folder = "/etc/llmhost/models.d"

// format is the version of the records' format. A reader refuses a newer one.
const format = 1

// maxSize is the largest record that is read, in bytes: the signature of a folder names all its
// files.
const maxSize = 64 << 20

// Record is what a host should hold of one model, or of one of a model's companions.
type Record struct {
	Format int    `json:"format"`
	Name   string `json:"name"`   // for people: MODEL, or MODEL/COMPANION
	Path   string `json:"path"`   // absolute, on the host
	SHA256 string `json:"sha256"` // of the file, or of the folder's manifest
	Folder bool   `json:"folder,omitempty"`
	// Servers are the units that use it.
	Servers []string `json:"servers,omitempty"`
	// Signature is what its signature must be; nil when none is demanded.
	Signature *Signature `json:"signature,omitempty"`
}

// Signature is a demand for a signature.
type Signature struct {
	PublicKey string `json:"public_key"` // PEM
	Bundle    string `json:"bundle"`     // the signature itself, as OpenSSF Model Signing writes it
	// Name is the name of the bundle's file, which a folder may hold beside what is signed.
	Name string `json:"name,omitempty"`
}

// File is where the record of a model is on the host. The slash in a companion's name becomes a
// character that no name has.
func File(name string) string {
	return path.Join(Folder, strings.ReplaceAll(name, "/", "@")+".json")
}

// Text is the record's file.
func (r Record) Text() (string, error) {
	r.Format = format
	if err := r.valid(); err != nil {
		return "", fmt.Errorf("the record of model %q: %w", r.Name, err)
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(r)
	return text.String(), err
}

// Read reads a record.
func Read(from io.Reader) (*Record, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxSize+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxSize:
		return nil, fmt.Errorf("it is larger than %d bytes", maxSize)
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("it isn't the record of a model: %w", err)
	}
	if r.Format > format {
		return nil, errors.New("it was written by a newer llmhost than this program is of")
	}
	return &r, r.valid()
}

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (r *Record) valid() error {
	switch {
	case r.Format < 1:
		return errors.New("it has no format")
	case r.Name == "" || strings.ContainsAny(r.Name, "\n\r\x00"):
		return fmt.Errorf("name is %q", r.Name)
	case !path.IsAbs(r.Path) || path.Clean(r.Path) != r.Path || r.Path == "/":
		return fmt.Errorf("path is %q, and must be a clean absolute path", r.Path)
	case !hexDigest.MatchString(r.SHA256):
		return fmt.Errorf("sha256 is %q, and must be 64 lower-case hexadecimal digits", r.SHA256)
	case r.Signature != nil && (r.Signature.PublicKey == "" || r.Signature.Bundle == ""):
		return errors.New("signature needs a public_key and a bundle")
	}
	return nil
}
