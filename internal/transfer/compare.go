package transfer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/transfer/chunk"
)

// maxEntries bounds a piece of an index or a sketch, in bytes.
const maxEntries = max(indexPiece, chunk.MaxSketch)

// cutting is what the source was cut into.
type cutting struct {
	chunks [][]chunk.Chunk // by file
	sums   []hash.Hash     // of the files, when nothing is pinned
	err    error
}

// compare finds out what of the source the host has in its base. Both sides cut their bytes at
// the same time, each reading them once. Nothing found is no error.
func (p *push) compare(out *lane, base []*agentpb.ModelFile, found, total uint64) error {
	sizes := make([]uint64, len(base))
	var all uint64
	for i, f := range base {
		sizes[i] = f.GetSize()
		if all += sizes[i]; all > maxSize || sizes[i] > maxSize {
			return broken("a base of too many bytes")
		}
	}
	average := chunk.Average(max(all, total))
	index, err := chunk.NewIndex(sizes, average)
	if err != nil {
		return nil // too many files, or a model so large that its index would be too
	}
	sketch := total >= chunk.SketchFrom
	if err := out.message(kindCompare, &agentpb.LaneCompare{Average: uint32(average), Sketch: sketch}); err != nil {
		return err
	}
	var read atomic.Uint64
	report := func() {
		if p.options.Progress != nil {
			p.options.Progress(Progress{Phase: "compare", Done: read.Load(), Total: total, Found: found})
		}
	}
	if sketch {
		e, err := p.next(kindSketch)
		if err != nil {
			return err
		}
		report()
		related, err := p.related(e.entries, base, average)
		if err != nil {
			return err
		}
		if !related {
			return out.message(kindCompare, &agentpb.LaneCompare{Stop: true})
		}
	}
	ctx, cancel := context.WithCancel(p.ctx)
	cut := make(chan cutting, 1)
	cutting := true
	defer func() {
		cancel()
		if cutting { // the source is the caller's again
			<-cut
		}
	}()
	go func() { cut <- p.cut(ctx, average, &read) }()
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	var chunks [][]chunk.Chunk
	for indexing := true; indexing || cutting; {
		select {
		case c := <-cut:
			if cutting = false; c.err != nil {
				return c.err
			}
			chunks, p.sums = c.chunks, c.sums
		case <-ticker.C:
			report()
		case e, ok := <-p.events:
			switch {
			case !ok:
				return context.Cause(p.ctx)
			case e.err != nil:
				return e.err
			case e.kind == kindProgress:
			case e.kind != kindIndex || !indexing:
				return broken("a frame %q", e.kind)
			case len(e.entries) == 0:
				indexing = false
			default:
				if err := index.Parse(e.entries); err != nil {
					return broken("%v", err)
				}
			}
		}
	}
	p.copies = make([][]chunk.Span, len(p.files))
	for i, of := range chunks {
		index.Match(i, of, func(s chunk.Span) {
			if s.Base != nil {
				p.copies[i] = append(p.copies[i], s)
			}
		})
	}
	return nil
}

// related compares the sketch of the base's largest file with the file of that name, or else
// with the largest.
func (p *push) related(sketch []byte, base []*agentpb.ModelFile, average int) (bool, error) {
	of := base[largest(base)]
	at := 0
	for i, f := range p.files {
		if f.Size > p.files[at].Size {
			at = i
		}
	}
	var failed error
	related, err := chunk.Related(p.ctx, sketch, of.GetSize(), p.files[at].Size, average, func(offset uint64) (io.ReadCloser, error) {
		r, err := p.src.Open(p.ctx, at, offset)
		if err != nil {
			failed = &sourceError{err}
			return nil, failed
		}
		return r, nil
	})
	if err != nil && failed == nil && p.ctx.Err() == nil {
		err = &sourceError{err}
	}
	return related, err
}

// cut reads and cuts the source.
func (p *push) cut(ctx context.Context, average int, read *atomic.Uint64) (c cutting) {
	for i, f := range p.files {
		in, err := p.src.Open(ctx, i, 0)
		if err != nil {
			c.err = &sourceError{err}
			return c
		}
		var chunks []chunk.Chunk
		var size uint64
		var from io.Reader = io.LimitReader(in, int64(min(f.Size, math.MaxInt64)))
		if !p.pinned {
			sum := sha256.New()
			c.sums = append(c.sums, sum)
			from = io.TeeReader(from, sum)
		}
		err = chunk.Cut(ctx, from, average, func(c chunk.Chunk) error {
			chunks = append(chunks, c)
			size += uint64(c.Length)
			read.Add(uint64(c.Length))
			return nil
		})
		if closeErr := in.Close(); err == nil {
			err = closeErr
		}
		if err == nil && size < f.Size {
			err = fmt.Errorf("%w: %s ends after %d bytes, and had %d", ErrChanged, firstOf(f.Name, "it"), size, f.Size)
		}
		if err != nil {
			c.err = &sourceError{err}
			return c
		}
		c.chunks = append(c.chunks, chunks)
	}
	return c
}

// inBase says where the base has the byte at a place, and up to where what follows it is there
// too. If the base hasn't it, until is where the next byte is that it has.
func (p *push) inBase(at place) (from *place, until uint64) {
	if p.copies == nil {
		return nil, math.MaxUint64
	}
	copies := p.copies[at.file]
	i, _ := slices.BinarySearchFunc(copies, at.offset, func(s chunk.Span, at uint64) int {
		if s.Offset+s.Length <= at {
			return -1
		}
		return 1
	})
	switch {
	case i == len(copies):
		return nil, math.MaxUint64
	case copies[i].Offset > at.offset:
		return nil, copies[i].Offset
	}
	s := copies[i]
	return &place{s.Base.File, s.Base.Offset + at.offset - s.Offset}, s.Offset + s.Length
}
