package chunk

import (
	"context"
	"fmt"
	"io"
)

// A sketch is the chunks of a few windows of a base: enough to find out, before hundreds of
// gigabytes are read, whether a new version has anything in common with it.

const (
	windows = 16 // of a sketch, spread evenly
	// A window starts anywhere, so that its first cuts may not be those of the file.
	windowChunks = 6
	// margin is how far bytes may have moved, in bytes, and still be found.
	margin = 8 << 20
	// few is how many windows must be found at least. With two of 16, an eighth of a model can
	// be copied, which costs less than it saves as soon as a link is slower than the disks.
	few = 2

	// MaxSketch bounds a written sketch, in bytes.
	MaxSketch = windows * 2 * windowChunks * EntrySize
)

// SketchFrom is the size from which a sketch is worth its windows, in bytes. What is smaller
// is read whole in about the same time.
const SketchFrom = 1 << 30

// windowOf returns where a window of a file begins and its length.
func windowOf(i int, size uint64, average int) (offset, length uint64) {
	length = windowChunks * uint64(average)
	if size <= length {
		return 0, size
	}
	return (size - length) / (windows - 1) * uint64(i), length
}

// Sketch writes the sketch of a file.
func Sketch(ctx context.Context, f io.ReaderAt, size uint64, average int) ([]byte, error) {
	var p []byte
	for i := range windows {
		offset, length := windowOf(i, size, average)
		first := true
		err := Cut(ctx, io.NewSectionReader(f, int64(offset), int64(length)), average, func(c Chunk) error {
			if !first {
				p = Append(p, c)
			}
			first = false
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Related says whether a new version has something in common with the base of which p is the
// sketch. open returns the bytes of the new version from an offset on; it is asked for the
// places of the sketch's windows and what is near them, and for the same places counted from
// the end.
func Related(ctx context.Context, p []byte, baseSize, size uint64, average int, open func(offset uint64) (io.ReadCloser, error)) (bool, error) {
	if len(p)%EntrySize != 0 || len(p) > MaxSketch {
		return false, fmt.Errorf("a sketch of %d bytes", len(p))
	}
	known := map[Sum]bool{}
	for ; len(p) > 0; p = p[EntrySize:] {
		known[parse(p).Sum] = true
	}
	found := 0
	for i := range windows {
		offset, length := windowOf(i, baseSize, average)
		hit, err := near(ctx, known, offset, length, size, average, open)
		if err != nil {
			return false, err
		}
		if moved := int64(size) - int64(baseSize); !hit && (moved > margin || moved < -margin) && int64(offset)+moved >= 0 {
			if hit, err = near(ctx, known, uint64(int64(offset)+moved), length, size, average, open); err != nil {
				return false, err
			}
		}
		if hit {
			if found++; found >= few {
				return true, nil
			}
		}
	}
	return false, nil
}

func near(ctx context.Context, known map[Sum]bool, offset, length, size uint64, average int, open func(offset uint64) (io.ReadCloser, error)) (hit bool, err error) {
	from := offset - min(offset, margin)
	if from >= size {
		return false, nil
	}
	r, err := open(from)
	if err != nil {
		return false, err
	}
	defer r.Close()
	err = Cut(ctx, io.LimitReader(r, int64(offset-from+length+margin)), average, func(c Chunk) error {
		if known[c.Sum] {
			hit = true
			return io.EOF // enough
		}
		return nil
	})
	if hit {
		return true, nil
	}
	return false, err
}
