// Package modelfile knows what a model is on a disk: one file, or a folder with a manifest.
//
// It exists so that a model made of many files (GGUF shards, a safetensors index, a whole
// repository) has one digest that a person can pin and check with ordinary tools, and so that
// what is no model, or one that runs code when it is loaded, is found before anything starts.
package modelfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Entry is a file of a folder.
type Entry struct {
	Name   string // relative, with slashes
	SHA256 string // lower-case hexadecimal
}

// Digest is the digest of a folder: the SHA-256 of its manifest, which is what this prints in it:
//
//	find -L . -name '.?*' -prune -o -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum
//
// so that piping it once more into sha256sum gives the digest.
func Digest(entries []Entry) string {
	sum := sha256.Sum256([]byte(Manifest(entries)))
	return hex.EncodeToString(sum[:])
}

// Manifest is a folder's manifest in sha256sum's format, sorted by name in byte order.
func Manifest(entries []Entry) string {
	sorted := slices.Clone(entries)
	slices.SortFunc(sorted, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	var text strings.Builder
	for _, e := range sorted {
		fmt.Fprintf(&text, "%s  %s\n", e.SHA256, e.Name)
	}
	return text.String()
}
