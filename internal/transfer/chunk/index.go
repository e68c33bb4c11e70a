package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxChunks is how many chunks an index may have: those of 512 GiB, cut as finely as Cut ever
// does. An index of so many takes 16 MiB of memory.
const MaxChunks = 1 << 18

// EntrySize is the length of a chunk in a written index, in bytes.
const EntrySize = len(Sum{}) + 4

// Append appends a chunk to a written index. Where a chunk lies is not written: it lies where
// the one before it ends, so that an index can't say that chunks overlap.
func Append(p []byte, c Chunk) []byte {
	p = append(p, c.Sum[:]...)
	return binary.LittleEndian.AppendUint32(p, c.Length)
}

// Index says where the chunks of some files are. It is filled by Add or by Parse, and is
// complete when all files are covered from begin to end.
type Index struct {
	average int
	sizes   []uint64
	chunks  []located
	find    map[Sum]uint32

	file   int    // where the next chunk lies
	offset uint64 // in that file
}

type located struct {
	offset uint64
	file   uint32
	length uint32
	sum    Sum
}

// NewIndex starts an index of files with these sizes, which may come from a peer that isn't
// trusted: it fails when their chunks can be more than MaxChunks.
func NewIndex(sizes []uint64, average int) (*Index, error) {
	if !ValidAverage(average) {
		return nil, fmt.Errorf("an index with an average of %d bytes", average)
	}
	if len(sizes) > MaxChunks {
		return nil, fmt.Errorf("an index of %d files", len(sizes))
	}
	x := &Index{average: average, sizes: sizes, find: map[Sum]uint32{}}
	room := uint64(MaxChunks)
	for _, size := range sizes {
		n := size/uint64(shortest(average)) + 1
		if n > room {
			return nil, fmt.Errorf("an index of more than %d chunks", MaxChunks)
		}
		room -= n
	}
	x.skipEmpty()
	return x, nil
}

func (x *Index) skipEmpty() {
	for x.file < len(x.sizes) && x.offset == x.sizes[x.file] {
		x.file, x.offset = x.file+1, 0
	}
}

// Complete says whether every byte of every file is covered.
func (x *Index) Complete() bool { return x.file == len(x.sizes) }

// Len is the number of chunks.
func (x *Index) Len() int { return len(x.chunks) }

var errBeyond = errors.New("an index goes on after the end of its files")

// Add adds the next chunk.
func (x *Index) Add(c Chunk) error {
	if x.Complete() {
		return errBeyond
	}
	left := x.sizes[x.file] - x.offset
	switch n := uint64(c.Length); {
	case n > left:
		return errBeyond
	case n > uint64(longest(x.average)), n < uint64(shortest(x.average)) && n < left, n == 0:
		return fmt.Errorf("an index has a chunk of %d bytes where they are %d to %d", n, shortest(x.average), longest(x.average))
	}
	if _, known := x.find[c.Sum]; !known {
		x.find[c.Sum] = uint32(len(x.chunks))
	}
	x.chunks = append(x.chunks, located{offset: x.offset, file: uint32(x.file), length: c.Length, sum: c.Sum})
	x.offset += uint64(c.Length)
	x.skipEmpty()
	return nil
}

// Parse adds the chunks of a piece of a written index. A piece holds whole entries.
func (x *Index) Parse(p []byte) error {
	if len(p)%EntrySize != 0 {
		return fmt.Errorf("an index has a piece of %d bytes, which is no multiple of %d", len(p), EntrySize)
	}
	for ; len(p) > 0; p = p[EntrySize:] {
		if err := x.Add(parse(p)); err != nil {
			return err
		}
	}
	return nil
}

func parse(p []byte) (c Chunk) {
	copy(c.Sum[:], p)
	c.Length = binary.LittleEndian.Uint32(p[len(c.Sum):])
	return c
}

// Bytes is the written index.
func (x *Index) Bytes() []byte {
	p := make([]byte, 0, len(x.chunks)*EntrySize)
	for _, c := range x.chunks {
		p = Append(p, Chunk{Sum: c.sum, Length: c.length})
	}
	return p
}

// Span is a part of a new version: bytes that the base has, or that must be sent.
type Span struct {
	File   int    // of the new version
	Offset uint64 // in it, bytes
	Length uint64
	Base   *Place // nil: the base hasn't these bytes
}

// Place is where bytes are in the base.
type Place struct {
	File   int
	Offset uint64
}

// Match splits a file of the new version into spans, from its chunks in order. Neighbours that
// are neighbours in the base too become one span. It passes at most one span for each chunk.
func (x *Index) Match(file int, chunks []Chunk, pass func(Span)) {
	const none = -1
	var span Span
	var offset uint64
	last := none // entry that the chunk before was found as
	flush := func() {
		if span.Length > 0 {
			pass(span)
		}
	}
	for _, c := range chunks {
		at := x.lookUp(c, last)
		switch {
		case at != none && last != none && at == last+1 && x.chunks[at].file == x.chunks[last].file,
			at == none && last == none && span.Length > 0:
		default:
			flush()
			span = Span{File: file, Offset: offset}
			if at != none {
				span.Base = &Place{File: int(x.chunks[at].file), Offset: x.chunks[at].offset}
			}
		}
		span.Length += uint64(c.Length)
		offset += uint64(c.Length)
		last = at
	}
	flush()
}

// lookUp finds a chunk. Of several with the same bytes it takes the one that follows last, so
// that spans become long.
func (x *Index) lookUp(c Chunk, last int) int {
	same := func(at int) bool { return x.chunks[at].sum == c.Sum && x.chunks[at].length == c.Length }
	if next := last + 1; last >= 0 && next < len(x.chunks) && same(next) {
		return next
	}
	if at, ok := x.find[c.Sum]; ok && same(int(at)) {
		return int(at)
	}
	return -1
}
