package transfer_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/llmhost/llmhost/internal/transfer"
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
