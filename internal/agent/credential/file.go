package credential

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"

	"github.com/llmhost/llmhost/internal/agent/durable"
)

// Read opens a credential's file, sealed or not, and returns the secret.
func Read(ctx context.Context, path string) ([]byte, error) {
	content, err := Load(path)
	if err != nil || SealedWith(content) == "" {
		return content, err
	}
	return Open(ctx, filepath.Base(path), content)
}

// Load returns a credential's file as it is on the disk.
func Load(path string) ([]byte, error) {
	d, name, err := durable.Parent(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	f, _, err := d.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSealed+1))
	if err == nil && len(content) > maxSealed {
		err = fmt.Errorf("it is larger than %d bytes, and is no credential of llmhost's", maxSealed)
	}
	return content, err
}

// apiKey is an API key as llmhost makes them (internal/secrets). It is looked for, so that the
// agent need not know the forms in which engines want their keys.
var apiKey = regexp.MustCompile(`\bllmk_[0-9A-Za-z]{49}\b`)

// APIKey returns the first API key in a credential, which is the current one.
func APIKey(ctx context.Context, path string) (string, error) {
	secret, err := Read(ctx, path)
	if err != nil {
		return "", err
	}
	return FirstAPIKey(secret)
}

// FirstAPIKey returns the first API key in a secret.
func FirstAPIKey(secret []byte) (string, error) {
	key := apiKey.Find(secret)
	if key == nil {
		return "", errors.New("it holds no API key of llmhost's")
	}
	return string(key), nil
}
