package chunk

import (
	"context"
	"fmt"
	"io"
	"math/bits"

	"github.com/zeebo/xxh3"
)

const (
	minAverage = 64 << 10 // below it, an index costs more than what it saves
	maxAverage = 4 << 20  // above it, one changed byte costs more than 8 MiB
	perModel   = 1 << 16  // chunks that a model is cut into, about
)

// Average is the size of chunks, in bytes, that suits a model of so many: a power of two that
// makes some 65,536 chunks, from 64 KiB to 4 MiB.
func Average(size uint64) int {
	a := size / perModel
	if a <= minAverage {
		return minAverage
	}
	if a >= maxAverage {
		return maxAverage
	}
	return 1 << bits.Len64(a-1)
}

// ValidAverage says whether an average is one that Average returns.
func ValidAverage(average int) bool {
	return average >= minAverage && average <= maxAverage && bits.OnesCount(uint(average)) == 1
}

// Cuts are no nearer to each other than half of the average, and those bytes aren't even looked
// at. From there on each byte is a cut with a chance of one in half of the average. FastCDC's
// two masks would make sizes more even, but also cuts that depend on the cut before: at 64 KiB,
// of 150 insertions one in a hundred then changed 0.5 MB, and 0.25 MB with one mask.
func shortest(average int) int { return average / 2 }
func longest(average int) int  { return average * 4 }

// gear has a random number for each value of a byte (SplitMix64 of it).
var gear = func() (table [256]uint64) {
	for i := range table {
		z := uint64(i+1) * 0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		table[i] = z ^ z>>31
	}
	return table
}()

// next is where p, which is long enough unless the file ends in it, is cut. What decides is the
// last 64 bytes: the hash shifts by a bit for each, and its upper bits are compared.
func next(p []byte, average int) int {
	if len(p) <= shortest(average) {
		return len(p)
	}
	if len(p) > longest(average) {
		p = p[:longest(average)]
	}
	limit := uint64(1) << (64 - bits.Len(uint(shortest(average)-1)))
	var hash uint64
	for i, b := range p[shortest(average):] {
		hash = hash<<1 + gear[b]
		if hash < limit {
			return shortest(average) + i + 1
		}
	}
	return len(p)
}

// Sum identifies a chunk's bytes: XXH3 of 128 bits, which runs at the speed of memory.
type Sum [16]byte

// Of returns the sum of bytes.
func Of(p []byte) Sum { return xxh3.Hash128(p).Bytes() }

// Chunk is a piece of a file.
type Chunk struct {
	Sum    Sum
	Length uint32 // bytes
}

// Cut cuts what r holds and passes each chunk on, in order. It allocates eight times average,
// and ends with the first error: of r, of each, or of ctx.
func Cut(ctx context.Context, r io.Reader, average int, each func(Chunk) error) error {
	if !ValidAverage(average) {
		return fmt.Errorf("chunks of %d bytes: the average must be a power of two from %d to %d", average, minAverage, maxAverage)
	}
	buf := make([]byte, 2*longest(average))
	var p []byte // what of buf isn't cut yet
	for ended := false; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(p) < longest(average) && !ended {
			have := copy(buf, p)
			for have < len(buf) && !ended {
				n, err := r.Read(buf[have:])
				have += n
				if ended = err == io.EOF; err != nil && !ended {
					return err
				}
			}
			p = buf[:have]
		}
		if len(p) == 0 {
			return nil
		}
		n := next(p, average)
		if err := each(Chunk{Sum: Of(p[:n]), Length: uint32(n)}); err != nil {
			return err
		}
		p = p[n:]
	}
}
