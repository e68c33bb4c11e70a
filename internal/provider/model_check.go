package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/modelfile/header"
	"github.com/llmhost/llmhost/internal/signing"
	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/transfer"
)

// checkSource refuses what is no model that may be used, by its headers, and what isn't signed.
func (p *placing) checkSource(ctx context.Context, src transfer.Source) error {
	d, err := header.Check(ctx, src, header.Options{Role: roles[p.in.Role], AllowPickle: p.in.AllowPickle})
	if err != nil {
		return err
	}
	for _, w := range d.Warnings {
		warn(ctx, p.in.Path+": "+w)
	}
	return p.signed.covers(ctx, p.in, src)
}

// checkOnHost is checkSource for what is at its place.
func (p *placing) checkOnHost(ctx context.Context) error {
	src, err := source.OnHost(ctx, p.host.Agent(), p.in.Path, p.in.Folder)
	if err != nil {
		return err
	}
	defer src.Close()
	return p.checkSource(ctx, src)
}

// refuses tells a verdict on a model from a failure to look at it.
func refuses(err error) bool {
	var bad *header.Error
	return errors.As(err, &bad) || errors.Is(err, signing.ErrNotSigned)
}

// signature is what vouches for a model, and was checked against its key.
type signature struct {
	file      string
	bundle    []byte
	statement *signing.Statement
}

// signatureFile is where the signature is: as it was given, else beside a local source.
func (in *ModelArgs) signatureFile(from modelfile.Source) string {
	switch {
	case in.Signature != nil:
		return *in.Signature
	case from.Kind == modelfile.Local:
		return from.Path + signing.Suffix
	default:
		return ""
	}
}

func readSignature(publicKey, file string) (*signature, error) {
	key, err := signing.ParsePublicKey([]byte(publicKey))
	if err != nil {
		return nil, fmt.Errorf("the public key that must have signed the model: %w", err)
	}
	bundle, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the model must be signed, and there is no signature %s: ask whoever vouches for it, or make one with llmhost model sign", file)
	}
	if err != nil {
		return nil, fmt.Errorf("read the signature: %w", err)
	}
	statement, err := signing.Verify(bundle, key)
	if err != nil {
		return nil, fmt.Errorf("the signature %s: %w", file, err)
	}
	return &signature{file: file, bundle: bundle, statement: statement}, nil
}

// covers checks that the pinned model is the one that was signed. What is pinned is what will be
// on the host, so files are read only when a folder's pin alone doesn't tell.
func (s *signature) covers(ctx context.Context, in ModelArgs, src transfer.Source) error {
	if s == nil {
		return nil
	}
	if !in.Folder {
		return s.explain(s.statement.CoversFile(in.SHA256))
	}
	var signed []modelfile.Entry
	for _, f := range s.statement.Files {
		signed = append(signed, modelfile.Entry{Name: f.Name, SHA256: f.SHA256})
	}
	sum := sha256.Sum256(s.bundle)
	own := modelfile.Entry{Name: filepath.Base(s.file), SHA256: hex.EncodeToString(sum[:])}
	if modelfile.Digest(signed) == in.SHA256 || modelfile.Digest(append(signed, own)) == in.SHA256 {
		return nil
	}
	_, hashed, err := source.Digest(ctx, src, nil)
	if err != nil {
		return err
	}
	var files []signing.File
	for _, f := range hashed {
		files = append(files, signing.File{Name: f.Name, SHA256: f.SHA256})
	}
	return s.explain(s.statement.CoversFolder(files, own.Name))
}

func (s *signature) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("by the signature %s: %w", s.file, err)
}
