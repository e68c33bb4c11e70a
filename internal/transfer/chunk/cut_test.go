package chunk

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"
)

const average = minAverage

// random is bytes that nothing else has in common with, unless the seed is the same.
func random(seed uint64, size int) []byte {
	p := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1}).Read(p)
	return p
}

// edges are the edges of cuts: what is shorter than a chunk, exactly one, runs of one value.
func edges() map[string][]byte {
	return map[string][]byte{
		"empty":       nil,
		"one byte":    {7},
		"shortest":    random(1, shortest(average)),
		"longest":     random(2, longest(average)),
		"zeros":       make([]byte, 5*average+13),
		"random":      random(3, 40*average+1),
		"zeros, data": slices.Concat(make([]byte, 7*average), random(4, 9*average)),
	}
}

func cut(t *testing.T, r io.Reader) (chunks []Chunk) {
	t.Helper()
	err := Cut(context.Background(), r, average, func(c Chunk) error {
		chunks = append(chunks, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return chunks
}

func TestChunksAreTheInputInOrder(t *testing.T) {
	for name, content := range edges() {
		rest := content
		chunks := cut(t, bytes.NewReader(content))
		for i, c := range chunks {
			if int(c.Length) > len(rest) || Of(rest[:c.Length]) != c.Sum {
				t.Fatalf("%s: chunk %d isn't the next %d bytes", name, i, c.Length)
			}
			if last := i == len(chunks)-1; int(c.Length) > longest(average) || !last && int(c.Length) < shortest(average) {
				t.Errorf("%s: chunk %d has %d bytes", name, i, c.Length)
			}
			rest = rest[c.Length:]
		}
		if len(rest) > 0 {
			t.Errorf("%s: %d bytes are in no chunk", name, len(rest))
		}
	}
}

func TestChunksDoNotDependOnReads(t *testing.T) {
	for name, content := range edges() {
		if !slices.Equal(cut(t, bytes.NewReader(content)), cut(t, iotest.HalfReader(bytes.NewReader(content)))) {
			t.Errorf("%s: short reads make other chunks", name)
		}
	}
}

func TestCutFailsAsItsReaderDoes(t *testing.T) {
	r := io.MultiReader(bytes.NewReader(random(1, 3*average)), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := Cut(context.Background(), r, average, func(Chunk) error { return nil }); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
}

func TestAnInsertionChangesAFewChunks(t *testing.T) {
	base := random(5, 64*average)
	known := map[Sum]bool{}
	for _, c := range cut(t, bytes.NewReader(base)) {
		known[c.Sum] = true
	}
	source := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		at, more := source.IntN(len(base)), 1+source.IntN(2*average)
		var fresh int
		for _, c := range cut(t, bytes.NewReader(slices.Concat(base[:at], random(6, more), base[at:]))) {
			if !known[c.Sum] {
				fresh += int(c.Length)
			}
		}
		if bound := more + 6*average; fresh > bound {
			t.Errorf("%d bytes inserted at %d made %d bytes of new chunks, more than %d", more, at, fresh, bound)
		}
	}
}

func TestAverageKeepsAnIndexSmall(t *testing.T) {
	for _, c := range []struct {
		size uint64
		want int
	}{
		{0, 64 << 10}, {64 << 20, 64 << 10}, {4 << 30, 64 << 10}, {4<<30 + 1<<17, 128 << 10},
		{200_000_000_000, 4 << 20}, {1 << 40, 4 << 20}, {1 << 63, 4 << 20},
	} {
		got := Average(c.size)
		if got != c.want || !ValidAverage(got) {
			t.Errorf("Average(%d) = %d, want %d", c.size, got, c.want)
		}
		if _, err := NewIndex([]uint64{c.size}, got); (err == nil) != (c.size <= 512<<30) {
			t.Errorf("an index of %d bytes: %v", c.size, err)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add(uint64(1), 3*average, 5, average)
	f.Fuzz(func(t *testing.T, seed uint64, size, zeros, at int) {
		if size < 0 || size > 16*average || zeros < 0 || zeros > 4*average || at < 0 || at > size {
			return
		}
		content := slices.Concat(random(seed, size)[:at], make([]byte, zeros), random(seed, size)[at:])
		x, err := NewIndex([]uint64{uint64(len(content))}, average)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cut(t, bytes.NewReader(content)) {
			if err := x.Add(c); err != nil {
				t.Fatal(err)
			}
		}
		if !x.Complete() {
			t.Error("the chunks aren't the whole")
		}
	})
}
