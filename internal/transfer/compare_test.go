package transfer_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/transfer"
	"github.com/llmhost/llmhost/internal/transfer/chunk"
)

// write puts a model on the host, as somebody had it there before.
func (h *host) write(name string, s *fakeSource) {
	h.t.Helper()
	for i, file := range s.names {
		path := filepath.Join(h.path(name), file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(path, s.content[i], 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *host) remove(name string) {
	h.t.Helper()
	if err := os.RemoveAll(h.path(name)); err != nil {
		h.t.Fatal(err)
	}
}

func TestAChangedModelSendsWhatChanged(t *testing.T) {
	const size = 32 << 20
	old := random(1, size)
	for name, changed := range map[string][]byte{
		"the header has grown": slices.Concat(random(2, 4096), old),
		"one percent differs":  slices.Concat(old[:size/3], random(3, size/100), old[size/3+size/100:]),
		"the same bytes":       old,
		"the end is gone":      old[:size-5000],
	} {
		for _, base := range []string{"model.gguf", "older.gguf"} { // replaced, or beside it
			for _, pinned := range []bool{true, false} {
				h, s := newHost(t), single(changed)
				h.write(base, single(old))
				header := header("model.gguf", s)
				if !pinned {
					header.Sha256 = ""
				}
				done, err := transfer.Push(t.Context(), h, header, s, transfer.Options{})
				if err != nil {
					t.Fatalf("%s, from %s: %v", name, base, err)
				}
				if done.Sent*100 > 3*size || done.Sent+done.Found != uint64(len(changed)) || done.SHA256 != s.digest() {
					t.Errorf("%s, from %s: %+v", name, base, done)
				}
				if base != "model.gguf" {
					h.remove(base)
				}
				h.wantModel("model.gguf", s)
			}
		}
	}
}

func TestAChangedFolderSendsWhatChanged(t *testing.T) {
	a, b := random(1, 9<<20), random(2, 7<<20)
	h := newHost(t)
	h.write("old", folder(map[string][]byte{"a-00001-of-00002.gguf": a, "sub/a-00002-of-00002.gguf": b, "config.json": []byte("{}"), "empty": nil}))
	s := folder(map[string][]byte{"all.gguf": slices.Concat([]byte("a new header"), b, a[1<<20:]), "config.json": []byte("{ }"), "empty": nil})
	done, err := h.push("model", s)
	if err != nil {
		t.Fatal(err)
	}
	h.remove("old")
	h.wantModel("model", s)
	if done.Sent > 1<<20 {
		t.Errorf("%d bytes were sent", done.Sent)
	}
}

func TestAnotherModelIsSentWhole(t *testing.T) {
	h, s := newHost(t), single(random(2, 4<<20))
	h.write("model.gguf", single(random(1, 4<<20)))
	h.write("much-larger.gguf", s) // isn't compared with: the one that is replaced is
	if done, err := h.push("model.gguf", s); err != nil || done.Sent != 4<<20 {
		t.Errorf("%+v, %v", done, err)
	}
	h.remove("much-larger.gguf")
	h.wantModel("model.gguf", s)
}

func TestWholeComparesNothing(t *testing.T) {
	h, s := newHost(t), single(random(1, 4<<20))
	s.read = new(atomic.Int64)
	h.write("model.gguf", s)
	done, err := transfer.Push(t.Context(), h, header("model.gguf", s), s, transfer.Options{Whole: true})
	if err != nil || done.Sent != 4<<20 || s.read.Load() != 4<<20 {
		t.Errorf("%d bytes were read: %+v, %v", s.read.Load(), done, err)
	}
}

// What is copied may be changed under the push. The host notices, and all is sent.
func TestABaseThatChangesIsNotTrusted(t *testing.T) {
	old := random(1, 8<<20)
	h, s := newHost(t), single(slices.Concat([]byte("GGUF"), old))
	h.write("model.gguf", single(old))
	s.fail = onSecondReading(func() error {
		f, err := os.OpenFile(h.path("model.gguf"), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte("somebody was here"), 5<<20)
		return err
	})
	if done := h.mustPush("model.gguf", s); done.Sent != 8<<20+4 || done.Found != 0 {
		t.Errorf("at last %+v", done)
	}
}

// onSecondReading calls f when a source is read from its begin again: when it was compared.
func onSecondReading(f func() error) func(int, uint64) error {
	begins := 0
	return func(_ int, at uint64) error {
		if at != 0 {
			return nil
		}
		if begins++; begins != 2 {
			return nil
		}
		return f()
	}
}

func TestAnInterruptedDeltaGoesOn(t *testing.T) {
	old := random(1, 24<<20)
	s := single(slices.Concat(random(2, 4096), old[:8<<20], random(3, 4<<20), old[8<<20:]))
	h := newHost(t)
	h.write("model.gguf", single(old))
	broken := errors.New("the disk is broken there")
	compared := false
	again := onSecondReading(func() error { compared = true; return nil })
	s.fail = func(file int, at uint64) error {
		if err := again(file, at); err != nil || !compared || at < 10<<20 {
			return err
		}
		return broken
	}
	if _, err := h.push("model.gguf", s); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	s.fail = nil
	if done := h.mustPush("model.gguf", s); done.Sent > 3<<20 {
		t.Errorf("%d bytes were sent again", done.Sent)
	}
}

// copyFrame is the frame of a copy to an offset of the file, from a place in the base.
func copyFrame(to uint64, file uint32, from, size uint64) []byte {
	return frame('C', slices.Concat(at(0, to), at(file, from), binary.BigEndian.AppendUint64(nil, size)))
}

func compareFrame(m *agentpb.LaneCompare) []byte { return frame('Q', mustMarshal(m)) }

func TestHostileComparisonByAClient(t *testing.T) {
	const size = 2 << 20
	old := single(random(1, size))
	one := opening(&agentpb.ModelHeader{Path: "/m.gguf", Sha256: sum(nil), Size: size, Mode: 0o640})
	index := compareFrame(&agentpb.LaneCompare{Average: 64 << 10})
	for name, c := range map[string]struct {
		frames [][]byte
		answer string
	}{
		"a file that the base hasn't":     {[][]byte{copyFrame(0, 1, 0, 9)}, "not offered"},
		"bytes that the base hasn't":      {[][]byte{copyFrame(0, 0, size-8, 9)}, "more than there is"},
		"a place that overflows":          {[][]byte{copyFrame(0, 0, 1<<64-5, 9)}, "more than there is"},
		"a length that overflows":         {[][]byte{copyFrame(0, 0, 5, 1<<64-5)}, "more than there is"},
		"a target behind the end":         {[][]byte{copyFrame(size-8, 0, 0, 9)}, "more than the"},
		"the same target twice":           {[][]byte{copyFrame(0, 0, 0, 10), copyFrame(9, 0, 0, 10)}, "not asked for"},
		"half a copy":                     {[][]byte{frame('C', at(0, 0))}, "protocol"},
		"chunks of one byte":              {[][]byte{compareFrame(&agentpb.LaneCompare{Average: 1})}, "not offered"},
		"chunks of an odd size":           {[][]byte{compareFrame(&agentpb.LaneCompare{Average: 65537})}, "not offered"},
		"chunks of four gigabytes":        {[][]byte{compareFrame(&agentpb.LaneCompare{Average: 1<<32 - 1})}, "not offered"},
		"two comparisons":                 {[][]byte{index, index}, "not offered"},
		"an end of none":                  {[][]byte{compareFrame(&agentpb.LaneCompare{Stop: true})}, "not offered"},
		"a copy of all, of another pin":   {[][]byte{copyFrame(0, 0, 0, size), frame('E', nil)}, "has the SHA-256"},
		"a comparison that is no message": {[][]byte{frame('Q', []byte{0xff})}, "protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.write("m.gguf", old)
			if said := h.converse(append([][]byte{one}, c.frames...)...); !strings.Contains(said, c.answer) {
				t.Errorf("the answer is %q, want %q", said, c.answer)
			}
			if got, err := os.ReadFile(h.path("m.gguf")); err != nil || sum(got) != old.digest() {
				t.Errorf("the old model has changed (%v)", err)
			}
		})
	}
}

func TestHostileComparisonByAnAgent(t *testing.T) {
	const size = 2 << 20
	s := single(random(1, size))
	base := func(files ...*agentpb.ModelFile) []byte {
		return frame('P', mustMarshal(&agentpb.LanePlan{Base: files, Need: []*agentpb.LaneRange{{Length: size}}}))
	}
	same := base(&agentpb.ModelFile{Name: "m.gguf", Size: size})
	entries := func(lengths ...uint32) []byte {
		var p []byte
		for _, n := range lengths {
			p = chunk.Append(p, chunk.Chunk{Length: n})
		}
		return frame('I', p)
	}
	done := frame('F', mustMarshal(&agentpb.LaneDone{}))
	for name, say := range map[string][]byte{
		"a base of too many bytes":  base(&agentpb.ModelFile{Size: 1 << 63}, &agentpb.ModelFile{Size: 1 << 63}),
		"half a chunk":              slices.Concat(same, frame('I', make([]byte, chunk.EntrySize+1)), done),
		"a chunk that is too small": slices.Concat(same, entries(1), done),
		"a chunk that is too large": slices.Concat(same, entries(1<<32-1), done),
		"chunks behind the end":     slices.Concat(same, entries(slices.Repeat([]uint32{256 << 10}, 9)...), done),
		"more than a piece":         slices.Concat(same, frame('I', make([]byte, 1<<20)), done),
		"a sketch instead":          slices.Concat(same, frame('K', nil), done),
		"an end instead":            slices.Concat(same, done),
	} {
		t.Run(name, func(t *testing.T) {
			if done, err := transfer.Push(t.Context(), answering{newHost(t), say}, header("m.gguf", s), s, transfer.Options{}); err == nil {
				t.Errorf("the push has succeeded: %+v", done)
			}
		})
	}
}

// The folder beside a model may hold what a base must not be: links, what is too different, what
// is hidden.
func TestWhatIsNoBase(t *testing.T) {
	content := random(1, 2<<20)
	for name, place := range map[string]func(h *host) error{
		"a link":   func(h *host) error { return os.Symlink(h.path("elsewhere/m.gguf"), h.path("link.gguf")) },
		"a hidden": func(h *host) error { return os.WriteFile(h.path(".m.gguf"), content, 0o600) },
		"a longer": func(h *host) error { return os.WriteFile(h.path("long.gguf"), append(content, content...), 0o600) },
		"a folder": func(h *host) error { return os.Rename(h.path("elsewhere"), h.path("beside")) },
	} {
		h, s := newHost(t), single(content)
		if err := os.Mkdir(h.path("elsewhere"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(h.path("elsewhere/m.gguf"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := place(h); err != nil {
			t.Fatal(err)
		}
		if done, err := h.push("m.gguf", s); err != nil || done.Sent != uint64(len(content)) {
			t.Errorf("%s was compared with: %+v, %v", name, done, err)
		}
	}
}
