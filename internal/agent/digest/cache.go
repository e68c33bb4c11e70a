// Package digest computes SHA-256 digests of large files and remembers them, so that looking
// at a model of 200 GB takes no time while nothing has touched it.
package digest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"github.com/llmhost/llmhost/internal/agent/durable"
)

// bufferSize is how much of a file is read at once, in bytes: SHA-256 runs at the speed of
// memory, so that the disk should be asked for long pieces.
const bufferSize = 1 << 20

// Cache is a folder with one file for each digest that is remembered.
type Cache string

type record struct {
	Path     string           `json:"path"`
	Identity durable.Identity `json:"identity"`
	SHA256   string           `json:"sha256"`
}

func (c Cache) file(path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(string(c), hex.EncodeToString(sum[:16])+".json")
}

// Find returns the digest that a file had when it was last hashed, if it is the same file and
// nothing has changed it since.
func (c Cache) Find(path string, id durable.Identity) (sum string, found bool) {
	content, err := os.ReadFile(c.file(path))
	if err != nil {
		return "", false
	}
	var r record
	if err := json.Unmarshal(content, &r); err != nil || r.Path != path || r.Identity != id {
		return "", false
	}
	return r.SHA256, true
}

// Store remembers a digest. One that can't be remembered, on a disk that is full or read-only, is
// computed again when it is needed.
func (c Cache) Store(path string, id durable.Identity, sum string) {
	content, err := json.Marshal(record{Path: path, Identity: id, SHA256: sum})
	if err != nil {
		return
	}
	if err := os.MkdirAll(string(c), 0o700); err != nil {
		return
	}
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600}
	_ = durable.WriteFile(c.file(path), append(content, '\n'), a)
}

// Forget drops what is remembered of a path.
func (c Cache) Forget(path string) { os.Remove(c.file(path)) }

// Of reads a file to its end. It stops early when ctx is done.
func Of(ctx context.Context, f io.Reader) (sum string, size uint64, err error) {
	h := sha256.New()
	buf := make([]byte, bufferSize)
	for {
		if err := ctx.Err(); err != nil {
			return "", 0, err
		}
		n, err := f.Read(buf)
		h.Write(buf[:n])
		size += uint64(n)
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), size, nil
		}
		if err != nil {
			return "", 0, err
		}
	}
}
