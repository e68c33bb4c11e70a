package transfer

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/transfer/chunk"
)

const (
	// compareFrom is how many bytes must be missing, for a comparison to be worth its messages.
	compareFrom = 1 << 20
	// copyQueue is how many copies wait while other bytes arrive. A lane with more isn't read.
	copyQueue = 1 << 10
	// indexPiece is the length of a piece of an index on the wire, in bytes.
	indexPiece = 3000 * chunk.EntrySize
)

// base is a model on the host that may hold the bytes of the one that is to come.
type base struct {
	dir   *durable.Dir // that it is in
	files []baseFile
}

type baseFile struct {
	name     string // in dir, with slashes
	size     uint64
	identity durable.Identity
}

// findBase looks for the model that a new one may have most in common with: the one that it
// replaces, or else the one in the same folder whose size is nearest, if that differs by no more
// than a tenth. It reads no file, and finding none is no error.
func findBase(parent *durable.Dir, target string, folder bool, size uint64) *base {
	looks := maxLooks
	if b := newBase(parent, target, folder, &looks); b != nil && b.size() > 0 {
		return b
	}
	names, err := parent.Entries()
	if err != nil {
		return nil
	}
	slices.Sort(names)
	apart := func(n uint64) uint64 { return max(n, size) - min(n, size) }
	var nearest *base
	for _, name := range names {
		if strings.HasPrefix(name, ".") {
			continue
		}
		b := newBase(parent, name, folder, &looks)
		if b == nil || apart(b.size()) > size/10 || nearest != nil && apart(b.size()) >= apart(nearest.size()) {
			continue
		}
		nearest = b
	}
	return nearest
}

// newBase lists the files of a model; nil if there are none of that kind, or when too much was
// looked at already.
func newBase(dir *durable.Dir, name string, folder bool, looks *int) *base {
	b := &base{dir: dir}
	is, err := dir.Lstat(name)
	switch {
	case err != nil || is == nil:
		return nil
	case !folder && is.Type == durable.Regular:
		b.files = []baseFile{{name, is.Size, is.Identity}}
	case folder && is.Type == durable.Directory:
		sub, err := dir.OpenFolder(name)
		if err != nil {
			return nil
		}
		defer sub.Close()
		if err := b.walk(sub, name, looks); err != nil {
			return nil
		}
	}
	if len(b.files) == 0 {
		return nil
	}
	return b
}

// maxLooks is how many files are looked at in search for a base: the folder beside the model may
// be somebody's home.
const maxLooks = maxFiles

var errTooMany = errors.New("too many files for a base")

func (b *base) walk(dir *durable.Dir, prefix string, looks *int) error {
	names, err := dir.Entries()
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if *looks--; *looks < 0 {
			return errTooMany
		}
		is, err := dir.Lstat(name)
		if err != nil {
			return err
		}
		switch {
		case is == nil:
		case is.Type == durable.Regular:
			b.files = append(b.files, baseFile{path.Join(prefix, name), is.Size, is.Identity})
		case is.Type == durable.Directory:
			sub, err := dir.OpenFolder(name)
			if err != nil {
				return err
			}
			err = b.walk(sub, path.Join(prefix, name), looks)
			sub.Close()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *base) size() (n uint64) {
	for _, f := range b.files {
		n += f.size
	}
	return n
}

// offer is what the client is told of the base.
func (b *base) offer() (files []*agentpb.ModelFile) {
	for _, f := range b.files {
		files = append(files, &agentpb.ModelFile{Name: f.name, Size: f.size})
	}
	return files
}

// largest is the index of the largest file, of which sketches are.
func largest(files []*agentpb.ModelFile) int {
	at := 0
	for i, f := range files {
		if f.GetSize() > files[at].GetSize() {
			at = i
		}
	}
	return at
}

// errMoved is a base that isn't any more what was offered.
var errMoved = fault.New(agentpb.Reason_DIGEST_MISMATCH, "the model that was to be copied from has changed meanwhile")

// open opens a file as it was when the base was found.
func (b *base) open(file int) (*os.File, error) {
	want := b.files[file]
	dir, parts := b.dir, strings.Split(want.name, "/")
	for _, part := range parts[:len(parts)-1] {
		sub, err := dir.OpenFolder(part)
		if dir != b.dir {
			dir.Close()
		}
		if err != nil {
			return nil, errMoved
		}
		dir = sub
	}
	f, is, err := dir.OpenFile(parts[len(parts)-1])
	if dir != b.dir {
		dir.Close()
	}
	if err != nil {
		return nil, errMoved
	}
	if is.Identity != want.identity {
		f.Close()
		return nil, errMoved
	}
	return f, nil
}

// compare begins to send the base's index, or ends it.
func (r *receiver) compare(from io.Reader, length int) error {
	var m agentpb.LaneCompare
	if err := readMessage(from, length, &m); err != nil {
		return err
	}
	switch {
	case m.GetStop() && r.indexing != nil:
		r.indexing()
		return nil
	case m.GetStop(), r.base == nil, r.indexing != nil, !chunk.ValidAverage(int(m.GetAverage())):
		return broken("a comparison that was not offered")
	}
	ctx, cancel := context.WithCancel(r.ctx)
	r.indexing = cancel
	go func() {
		defer cancel()
		if err := r.sendIndex(ctx, int(m.GetAverage()), m.GetSketch()); err != nil && ctx.Err() == nil {
			r.stop(err)
		}
	}()
	return nil
}

// sendIndex sends the chunks of the base. What can't be read of it isn't there to be copied
// either, and ends the index early.
func (r *receiver) sendIndex(ctx context.Context, average int, sketch bool) error {
	if sketch {
		p, err := r.base.sketch(ctx, average)
		if err != nil {
			p = nil
		}
		if err := r.in.sendBytes(kindSketch, p); err != nil {
			return ErrCut
		}
	}
	var piece []byte
	flush := func() error {
		if err := r.in.sendBytes(kindIndex, piece); err != nil {
			return ErrCut
		}
		piece = piece[:0]
		return nil
	}
	for i := range r.base.files {
		var sent error
		err := r.base.cut(ctx, i, average, func(c chunk.Chunk) error {
			if piece = chunk.Append(piece, c); len(piece) >= indexPiece {
				sent = flush()
			}
			return sent
		})
		if sent != nil {
			return sent
		}
		if err != nil {
			break
		}
	}
	if len(piece) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	return flush()
}

func (b *base) cut(ctx context.Context, file, average int, each func(chunk.Chunk) error) error {
	f, err := b.open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return chunk.Cut(ctx, io.LimitReader(f, int64(b.files[file].size)), average, each)
}

func (b *base) sketch(ctx context.Context, average int) ([]byte, error) {
	at := largest(b.offer())
	f, err := b.open(at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return chunk.Sketch(ctx, f, b.files[at].size, average)
}

// copying is a part of the base that is to be copied.
type copying struct {
	to, from place
	size     uint64
}

const copySize = 2*placeSize + 8

// copy takes a copy. It is made beside what arrives, so that the wire doesn't wait for it.
func (r *receiver) copy(from io.Reader, length int) error {
	if length != copySize {
		return broken("a copy of %d bytes", length)
	}
	var b [copySize]byte
	if _, err := io.ReadFull(from, b[:]); err != nil {
		return unexpected(err)
	}
	c := copying{to: getPlace(b[:]), from: getPlace(b[placeSize:]), size: binary.BigEndian.Uint64(b[2*placeSize:])}
	if r.base == nil || c.from.file >= len(r.base.files) {
		return broken("a copy of what was not offered")
	}
	if size := r.base.files[c.from.file].size; c.from.offset > size || c.size > size-c.from.offset {
		return broken("a copy of more than there is")
	}
	if err := r.claim(c.to, c.size); err != nil {
		return err
	}
	select {
	case r.copies <- c:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// copyAll makes the copies. Their bytes go the way of all others: they are written, noted in
// the journal, and hashed.
func (r *receiver) copyAll() {
	var file *os.File
	open := -1
	defer func() {
		if file != nil {
			file.Close()
		}
	}()
	for {
		var c copying
		select {
		case c = <-r.copies:
		case <-r.ctx.Done():
			return
		}
		if open != c.from.file {
			if file != nil {
				file.Close()
			}
			var err error
			if file, err = r.base.open(c.from.file); err != nil {
				file = nil
				r.stop(err)
				return
			}
			open = c.from.file
		}
		if err := r.copyOne(file, c); err != nil {
			r.stop(err)
			return
		}
	}
}

func (r *receiver) copyOne(file *os.File, c copying) error {
	for done := uint64(0); done < c.size; {
		buf, err := r.buffer()
		if err != nil {
			return err
		}
		n := min(c.size-done, pieceSize)
		if _, err := file.ReadAt(buf[:n], int64(c.from.offset+done)); err != nil {
			if errors.Is(err, io.EOF) {
				return errMoved
			}
			return err
		}
		if err := r.pass(piece{place{c.to.file, c.to.offset + done}, buf[:n]}); err != nil {
			return err
		}
		done += n
	}
	return nil
}
