package testmodel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// Noise is a file that looks like a model and has noise for its one tensor: for what moves
// models and runs none. Equal values give equal bytes, on every machine.
type Noise struct {
	Bytes    int64  // of the tensor, 32 at least
	Seed     uint64 // of the noise
	Template string // chat template; a longer one moves the tensor
}

// WriteTo writes the file in GGUF format.
func (n Noise) WriteTo(w io.Writer) (int64, error) {
	size := max(n.Bytes, ggufAlignment) / ggufAlignment * ggufAlignment
	var g gguf
	g.string("general.architecture", "llama")
	g.string("general.name", "noise")
	g.uint32("general.alignment", ggufAlignment)
	g.string("tokenizer.chat_template", n.Template)
	g.tensors = []tensor{{name: "noise", dims: []uint64{uint64(size)}, kind: tensorI8}}
	var header bytes.Buffer
	if _, err := g.WriteTo(&header); err != nil {
		return 0, err
	}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], n.Seed)
	return io.Copy(w, io.MultiReader(&header, io.LimitReader(rand.NewChaCha8(seed), size)))
}

// WriteFile writes the file, and returns its SHA-256 in hexadecimal and its size in bytes.
func (n Noise) WriteFile(path string) (sha256hex string, size int64, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", 0, fmt.Errorf("test model: %w", err)
	}
	h := sha256.New()
	size, err = n.WriteTo(io.MultiWriter(f, h))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return "", 0, fmt.Errorf("test model %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}
