// Package digest computes SHA-256 digests of large files and remembers them, so that looking
// at a model of 200 GB takes no time while nothing has touched it.
//
// What is remembered of a file is believed for as long as the kernel vouches that the bytes are
// the same: by the file's fs-verity digest where it has one, else by its identity, in which the
// time of the last status change is the kernel's own. Clocks have ticks and can be set, so that a
// time proves something only when it was well in the past at the moment when the file was read.
package digest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/llmhost/llmhost/internal/agent/durable"
)

// bufferSize is how much of a file is read at once, in bytes: SHA-256 runs at the speed of
// memory, so that the disk should be asked for long pieces.
const bufferSize = 1 << 20

// A change can hide in the tick of the clock in which the last one was stamped. The kernel's tick
// is 10 ms at most (CONFIG_HZ=100); some file systems keep whole seconds, FAT every second one.
const (
	tick       = 50 * time.Millisecond
	coarseTick = 2 * time.Second
)

// Cache is a folder with one file for each model of which something is remembered.
type Cache string

// Record is what is remembered of a model.
type Record struct {
	Path   string `json:"path"`
	Folder bool   `json:"folder,omitempty"`
	// Placed says that llmhost has put it there, for a stack or without one.
	Placed   bool          `json:"placed,omitempty"`
	Files    []File        `json:"files"` // sorted by name
	Verified *Verification `json:"verified,omitempty"`
}

// File is what is remembered of a file of a model.
type File struct {
	Name     string           `json:"name,omitempty"` // relative to the folder; empty for a single file
	Identity durable.Identity `json:"identity"`
	SHA256   string           `json:"sha256,omitempty"` // empty: the last verification couldn't read it
	Verity   string           `json:"verity,omitempty"` // as verity.Measure returns it
	// ReadNano is when the bytes began to be read, in nanoseconds since 1970; 0 if the clock
	// couldn't be relied on then.
	ReadNano int64 `json:"read_ns,omitempty"`
}

// Verification is when a model was last read as a whole to see whether it is as it should be.
type Verification struct {
	Unix    int64  `json:"unix"`
	Failure string `json:"failure,omitempty"`
}

// Holds reports whether the file, as it is now, has the bytes that were remembered. protection
// is its fs-verity digest now.
func (f *File) Holds(is durable.Identity, protection string, now time.Time) bool {
	if f.Verity != "" {
		return f.Verity == protection
	}
	return f.Identity == is && f.ReadNano <= now.UnixNano() && f.ReadNano-is.StatusChangeNano >= int64(tickOf(is))
}

// File returns what is remembered of one file; nil when there is nothing.
func (r *Record) File(name string) *File {
	if r == nil {
		return nil
	}
	for i := range r.Files {
		if r.Files[i].Name == name {
			return &r.Files[i]
		}
	}
	return nil
}

func tickOf(is durable.Identity) time.Duration {
	if is.StatusChangeNano%int64(time.Second) == 0 {
		return coarseTick
	}
	return tick
}

// Settle waits until a change of the file can't have the same times as the last one, and returns
// when that is. It is the zero time if the file's times are in the future: nothing can be said then.
func Settle(ctx context.Context, is durable.Identity) (time.Time, error) {
	for {
		now := time.Now()
		left := tickOf(is) - now.Sub(time.Unix(0, is.StatusChangeNano))
		switch {
		case left <= 0:
			return now, nil
		case left > 2*coarseTick:
			return time.Time{}, nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-time.After(left):
		}
	}
}

// recordFile is how the files of records are named.
var recordFile = regexp.MustCompile(`^[0-9a-f]{32}\.json$`)

func (c Cache) file(path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(string(c), hex.EncodeToString(sum[:16])+".json")
}

// Load returns what is remembered of a model; nil when there is nothing, or nothing that can be read.
func (c Cache) Load(path string) *Record {
	r := load(c.file(path))
	if r == nil || r.Path != path {
		return nil
	}
	return r
}

func load(file string) *Record {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var r Record
	if json.Unmarshal(content, &r) != nil {
		return nil
	}
	return &r
}

// All returns everything that is remembered.
func (c Cache) All() []*Record {
	entries, _ := os.ReadDir(string(c))
	var all []*Record
	for _, e := range entries {
		if !recordFile.MatchString(e.Name()) {
			continue
		}
		if r := load(filepath.Join(string(c), e.Name())); r != nil && c.file(r.Path) == filepath.Join(string(c), e.Name()) {
			all = append(all, r)
		}
	}
	return all
}

// Store remembers a model. What can't be remembered, on a disk that is full or read-only, is
// found out again when it is needed.
func (c Cache) Store(r *Record) {
	content, err := json.Marshal(r)
	if err != nil {
		return
	}
	if err := os.MkdirAll(string(c), 0o700); err != nil {
		return
	}
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600}
	_ = durable.WriteFile(c.file(r.Path), append(content, '\n'), a)
}

// Forget drops what is remembered of a model.
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
