package models_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/models"
	"github.com/llmhost/llmhost/internal/agent/verity"
	"github.com/llmhost/llmhost/internal/modelfile"
)

// protectedVariable names a folder on a file system with fs-verity. The end-to-end tests make one
// in their VM and run these tests there; elsewhere they hold for file systems without it.
const protectedVariable = "LLMHOST_TEST_VERITY"

func TestProtection(t *testing.T) {
	dir := os.Getenv(protectedVariable)
	if dir == "" {
		dir = t.TempDir()
	}
	dir, err := os.MkdirTemp(dir, "")
	must(t, err)
	cache, path := digest.Cache(t.TempDir()), filepath.Join(dir, "m.gguf")
	content := bytes.Repeat([]byte("weights "), 100_000)
	write(t, path, string(content))
	models.Placed(t.Context(), cache, path, false, []modelfile.Entry{{SHA256: sum(string(content))}})
	m, read := look(t, cache, path)
	if m.SHA256 != sum(string(content)) || read != 0 {
		t.Fatalf("%d bytes were read of %+v", read, m)
	}
	if !m.Verity() {
		if os.Getenv(protectedVariable) != "" {
			t.Fatal("the file system has fs-verity, and the model isn't protected")
		}
		must(t, os.WriteFile(path, []byte("still a file like any other"), 0o640))
		return
	}

	if _, err := os.OpenFile(path, os.O_WRONLY, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("writing to it: %v", err)
	}
	if err := os.Truncate(path, 1); !errors.Is(err, unix.EPERM) {
		t.Errorf("making it shorter: %v", err)
	}
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	first, err := verity.Measure(f)
	must(t, err)
	if again, err := verity.Enable(f); err != nil || again != first {
		t.Errorf("a second time: %q and %q, %v", first, again, err)
	}

	// Times, attributes and names change, and its bytes are known without reading them.
	must(t, os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)))
	must(t, os.Chmod(path, 0o600))
	must(t, os.Link(path, filepath.Join(dir, "twin.gguf")))
	if m, read := look(t, cache, path); read != 0 || m.SHA256 != sum(string(content)) {
		t.Errorf("%d bytes were read", read)
	}
	// Another file in its place is another file, with the same times too.
	is, err := os.Stat(path)
	must(t, err)
	must(t, os.Remove(path))
	write(t, path, string(bytes.ToUpper(content)))
	must(t, os.Chtimes(path, is.ModTime(), is.ModTime()))
	if m, _ := look(t, cache, path); m.SHA256 != sum(string(bytes.ToUpper(content))) {
		t.Error("another file passes for it")
	}

	// A second model of the same bytes is protected, too, as a link and as a copy.
	twin := filepath.Join(dir, "twin.gguf")
	models.Placed(t.Context(), cache, twin, false, []modelfile.Entry{{SHA256: sum(string(content))}})
	for name, mode := range map[string]uint32{"linked.gguf": 0o600, "copied.gguf": 0o640} {
		found := models.Find(cache, filepath.Join(dir, name), false, sum(string(content)), nil)
		if found == nil {
			t.Fatal("the bytes aren't found")
		}
		a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: mode}
		must(t, found.Place(t.Context(), cache, filepath.Join(dir, name), a, nil))
		m, read := look(t, cache, filepath.Join(dir, name))
		if !m.Verity() || read != 0 || !m.Has(a) || m.SHA256 != sum(string(content)) {
			t.Errorf("%s: %+v after %d bytes", name, m, read)
		}
	}

	// For TestBrokenDisk.
	broken := filepath.Join(os.Getenv(protectedVariable), "broken.gguf")
	write(t, broken, "bytes that break")
	models.Placed(t.Context(), cache, broken, false, []modelfile.Entry{{SHA256: sum("bytes that break")}})

	// What somebody has open for writing can't be protected, and is a model all the same.
	open := filepath.Join(dir, "open.gguf")
	w, err := os.Create(open)
	must(t, err)
	defer w.Close()
	models.Placed(t.Context(), cache, open, false, []modelfile.Entry{{SHA256: sum("")}})
	if m, read := look(t, cache, open); m.Verity() || read != 0 || m.SHA256 != sum("") {
		t.Errorf("open for writing: %+v", m)
	}
}

// TestBrokenDisk looks at a protected model of which the disk returns other bytes than were
// written; the end-to-end tests break one. Elsewhere there is none.
func TestBrokenDisk(t *testing.T) {
	path := os.Getenv("LLMHOST_TEST_BROKEN")
	if path == "" {
		path = "/proc/self/mem" // a regular file whose first page can't be read
	}
	cache := digest.Cache(t.TempDir())
	m, err := models.Verify(t.Context(), cache, path, models.VerifyOptions{Remember: true})
	must(t, err)
	if m.Verified.Failure != "it can't be read: input/output error" || m.SHA256 != "" {
		t.Errorf("verified: %+v", m.Verified)
	}
}
