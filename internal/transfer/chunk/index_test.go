package chunk

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

func index(t *testing.T, files ...[]byte) *Index {
	t.Helper()
	sizes := make([]uint64, len(files))
	for i, f := range files {
		sizes[i] = uint64(len(f))
	}
	written, err := NewIndex(sizes, average)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for _, c := range cut(t, bytes.NewReader(f)) {
			if err := written.Add(c); err != nil {
				t.Fatal(err)
			}
		}
	}
	x, err := NewIndex(sizes, average)
	if err != nil {
		t.Fatal(err)
	}
	for piece := range slices.Chunk(written.Bytes(), 7*EntrySize) {
		if err := x.Parse(piece); err != nil {
			t.Fatal(err)
		}
	}
	if !x.Complete() || x.Len() != written.Len() {
		t.Fatalf("an index of %d chunks came back as %d", written.Len(), x.Len())
	}
	return x
}

// rebuild makes a file of its spans, and counts those and the bytes that the base lacks.
func rebuild(t *testing.T, x *Index, base [][]byte, file []byte) (spans, sent int) {
	t.Helper()
	var made []byte
	x.Match(3, cut(t, bytes.NewReader(file)), func(s Span) {
		spans++
		if s.File != 3 || s.Offset != uint64(len(made)) || s.Length == 0 {
			t.Fatalf("span %+v after %d bytes", s, len(made))
		}
		if s.Base == nil {
			sent += int(s.Length)
			made = append(made, file[s.Offset:][:s.Length]...)
		} else {
			made = append(made, base[s.Base.File][s.Base.Offset:][:s.Length]...)
		}
	})
	if !bytes.Equal(made, file) {
		t.Fatal("the spans don't make the file")
	}
	return spans, sent
}

func TestSpansOfAMovedModel(t *testing.T) {
	base := random(1, 64<<20)
	x := index(t, base)
	header := random(2, 4096)
	for name, file := range map[string][]byte{
		"the header has grown": slices.Concat(header, base),
		"one percent differs":  slices.Concat(base[:20<<20], random(3, len(base)/100), base[20<<20+len(base)/100:]),
		"the same":             base,
	} {
		spans, sent := rebuild(t, x, [][]byte{base}, file)
		if spans > 3 || sent > len(base)*3/100 {
			t.Errorf("%s: %d spans, %d bytes to send", name, spans, sent)
		}
	}
	if _, sent := rebuild(t, x, [][]byte{base}, random(9, 1<<20)); sent != 1<<20 {
		t.Errorf("of another model %d bytes are to be sent", sent)
	}
}

func TestSpansOfRandomEdits(t *testing.T) {
	source := rand.New(rand.NewPCG(3, 4))
	base := [][]byte{random(1, 20*average), nil, make([]byte, 6*average), random(2, 10*average+5)}
	x := index(t, base...)
	for range 100 {
		var file []byte
		for range source.IntN(8) {
			part := base[source.IntN(len(base))]
			from := source.IntN(len(part) + 1)
			file = append(file, part[from:][:source.IntN(len(part)-from+1)]...)
			file = append(file, random(source.Uint64(), source.IntN(1000))...)
		}
		rebuild(t, x, base, file)
	}
}

// A run of one value has the same chunk many times, and is one span all the same.
func TestARunOfZerosIsOneSpan(t *testing.T) {
	base := slices.Concat(random(1, 4*average), make([]byte, 40*average), random(2, 4*average))
	if spans, sent := rebuild(t, index(t, base), [][]byte{base}, base); spans != 1 || sent != 0 {
		t.Errorf("%d spans, %d bytes to send", spans, sent)
	}
}

func TestAHostileIndexIsRefused(t *testing.T) {
	entry := func(length uint32) []byte { return Append(nil, Chunk{Length: length}) }
	for name, c := range map[string]struct {
		sizes []uint64
		p     []byte
	}{
		"half an entry":       {[]uint64{average}, entry(average)[:EntrySize-1]},
		"after the end":       {[]uint64{average}, slices.Concat(entry(average), entry(average))},
		"no file":             {nil, entry(average)},
		"longer than allowed": {[]uint64{1 << 40}, entry(uint32(longest(average)) + 1)},
		"longer than left":    {[]uint64{average}, entry(average + 1)},
		"of nothing":          {[]uint64{average}, entry(0)},
		"too short":           {[]uint64{average}, entry(1)},
		"absurd":              {[]uint64{average}, entry(1<<32 - 1)},
	} {
		if c.sizes != nil && c.sizes[0] == 1<<40 {
			c.sizes[0] = MaxChunks / 2 * uint64(shortest(average)) // the most that an index may cover
		}
		x, err := NewIndex(c.sizes, average)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Parse(c.p); err == nil {
			t.Errorf("a chunk %s was taken", name)
		}
	}
	for name, sizes := range map[string][]uint64{
		"a million chunks": {1_000_000 * uint64(shortest(average))},
		"a million files":  make([]uint64, 1_000_000),
		"a wrapped sum":    {1<<64 - 1, 1<<64 - 1},
	} {
		if _, err := NewIndex(sizes, average); err == nil {
			t.Errorf("an index of %s was begun", name)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(uint64(3*average), uint64(0), Append(Append(nil, Chunk{Length: average}), Chunk{Length: 2 * average}))
	f.Fuzz(func(t *testing.T, first, second uint64, p []byte) {
		x, err := NewIndex([]uint64{first, second}, average)
		if err != nil {
			return
		}
		err = x.Parse(p)
		var covered uint64
		for _, c := range x.chunks {
			covered += uint64(c.length)
			if c.offset+uint64(c.length) > x.sizes[c.file] {
				t.Fatalf("a chunk at %d+%d of %d", c.offset, c.length, x.sizes[c.file])
			}
		}
		if covered > first+second || x.Len() > MaxChunks || x.Complete() != (covered == first+second) {
			t.Fatalf("%d chunks cover %d of %d bytes", x.Len(), covered, first+second)
		}
		if err == nil && !bytes.Equal(x.Bytes(), p) {
			t.Fatal("what was read isn't written")
		}
	})
}

func TestASketchFindsWhatIsRelated(t *testing.T) {
	const size = 96 << 20
	base := random(1, size)
	p, err := Sketch(context.Background(), bytes.NewReader(base), size, average)
	if err != nil {
		t.Fatal(err)
	}
	if len(p) > MaxSketch {
		t.Errorf("a sketch of %d bytes, more than %d", len(p), MaxSketch)
	}
	for name, c := range map[string]struct {
		file []byte
		want bool
	}{
		"the same":                {base, true},
		"moved a little":          {slices.Concat(random(2, 4096), base), true},
		"moved far, from the end": {slices.Concat(random(3, 20<<20), base[1<<20:]), true},
		"only its end is left":    {slices.Concat(random(4, 70<<20), base[70<<20:]), true},
		"another":                 {random(5, size), false},
		"a tiny one":              {random(6, 100), false},
		"empty":                   {nil, false},
	} {
		read := 0
		got, err := Related(context.Background(), p, size, uint64(len(c.file)), average, func(offset uint64) (io.ReadCloser, error) {
			return io.NopCloser(&counted{bytes.NewReader(c.file[offset:]), &read}), nil
		})
		if err != nil || got != c.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	lie := slices.Repeat([]byte{1}, MaxSketch+EntrySize)
	if _, err := Related(context.Background(), lie, size, size, average, nil); err == nil {
		t.Error("a sketch without an end was taken")
	}
}

type counted struct {
	io.Reader
	n *int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.n += n
	return n, err
}

func BenchmarkCut(b *testing.B) {
	p := random(1, 256<<20)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if err := Cut(context.Background(), bytes.NewReader(p), average, func(Chunk) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzSketch(f *testing.F) {
	f.Add(Append(nil, Chunk{Length: average}), uint64(1<<30), uint64(100))
	content := random(1, 4*average)
	f.Fuzz(func(t *testing.T, p []byte, baseSize, size uint64) {
		_, _ = Related(context.Background(), p, baseSize, size, average, func(offset uint64) (io.ReadCloser, error) {
			if offset >= size {
				t.Fatalf("asked for offset %d of %d", offset, size)
			}
			return io.NopCloser(bytes.NewReader(content[min(offset, uint64(len(content))):])), nil
		})
	})
}
