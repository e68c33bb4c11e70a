// Package transfer brings the bytes of a model from where they are to a host, verified.
//
// It exists because models are 5 to 200 GB: what a copy costs, whether it goes on after a cut,
// and whether the bytes are the right ones is what decides if a private model is practical. A
// Sender reads a Source and speaks frames over one or several lanes; a Receiver, in the agent,
// writes a file that has no name yet, hashes it while it arrives, and publishes it when its
// digest is the pinned one. docs/models.md describes the protocol and defends its numbers.
package transfer

import (
	"context"
	"errors"
	"io"
)

// ErrChanged is the error of a source whose bytes are no longer those that it listed.
var ErrChanged = errors.New("the source has changed since it was listed")

// File is one file of a model.
type File struct {
	Name   string // relative, with slashes; empty when the model is a single file
	Size   uint64 // bytes
	SHA256 string // lower-case hexadecimal; empty when it isn't known before the file was read
}

// Source is where a model's bytes come from: local files, an address, another host.
type Source interface {
	// Files lists the files, sorted by name. The list doesn't change while the source is open.
	Files() []File
	// Open returns the bytes of a file from an offset to its end. Several readers may be open
	// at once. A reader whose file has changed since Files was made fails with ErrChanged.
	Open(ctx context.Context, file int, offset uint64) (io.ReadCloser, error)
	// ID identifies the bytes without reading them, as far as the source can: a push that was
	// interrupted goes on only with the same ID. It holds no secret.
	ID() string
	// Close releases what the source holds.
	Close() error
}

// Holes is implemented by a source that knows which parts of a file are zeros, so that a sparse
// file is sent, and kept, sparse.
type Holes interface {
	// Data returns the next range at or after offset that isn't a hole; ok is false when there
	// is none.
	Data(file int, offset uint64) (start, end uint64, ok bool)
}

// Distant is implemented by a source that may be read over a network. One that is isn't compared
// with what the host has, for which all of it would be read before the rest is read again.
type Distant interface {
	Distant() bool
}

// Progress is how far a transfer is.
type Progress struct {
	Phase string // "compare", "send", "fetch", "hash", "copy", "verify"
	File  string // the file that is on its way
	Done  uint64 // bytes that are at the receiver, with those that it had before
	Total uint64 // bytes
	Sent  uint64 // bytes that went over the wire
	Found uint64 // bytes that the receiver had: from an earlier attempt, or from another model
}
