package source_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/transfer"
)

// lay makes files below a new folder. A content that begins with "-> " makes a link.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "model")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, isLink := strings.CutPrefix(content, "-> "); isLink {
			err = os.Symlink(strings.ReplaceAll(target, "ROOT", root), path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func names(src transfer.Source) []string {
	var out []string
	for _, f := range src.Files() {
		out = append(out, f.Name)
	}
	return out
}

func read(t *testing.T, src transfer.Source, file int, offset uint64) string {
	t.Helper()
	r, err := src.Open(t.Context(), file, offset)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func openLocal(t *testing.T, path string, folder bool) transfer.Source {
	t.Helper()
	src, err := source.Local(path, folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func TestLocalFile(t *testing.T) {
	root := lay(t, map[string]string{"m.gguf": "0123456789", "link.gguf": "-> m.gguf"})
	for _, name := range []string{"m.gguf", "link.gguf"} {
		src := openLocal(t, filepath.Join(root, name), false)
		if got := src.Files(); len(got) != 1 || got[0] != (transfer.File{Size: 10}) {
			t.Errorf("%s has the files %+v", name, got)
		}
		if got := read(t, src, 0, 4); got != "456789" {
			t.Errorf("%s from 4: %q", name, got)
		}
		if got := read(t, src, 0, 10); got != "" {
			t.Errorf("%s from its end: %q", name, got)
		}
	}
}

// The digest of a folder is the one that the documented command prints.
func TestLocalFolder(t *testing.T) {
	root := lay(t, map[string]string{
		"config.json":          "{}",
		"a-b":                  "sorts before a/b",
		"a/b":                  "in a folder",
		"a/empty":              "",
		"Z with a space":       "z",
		"ü.txt":                "u",
		"link.bin":             "-> a/b",
		"absolute.bin":         "-> ROOT/a/b",
		"folder-link":          "-> a",
		".gitattributes":       "hidden",
		".cache/huggingface/x": "hidden",
		"a/.hidden/x":          "hidden",
	})
	src := openLocal(t, root, true)
	want := []string{"Z with a space", "a-b", "a/b", "a/empty", "absolute.bin", "config.json", "folder-link/b", "folder-link/empty", "link.bin", "ü.txt"}
	if got := names(src); !slices.Equal(got, want) {
		t.Errorf("files: %q", got)
	}
	if got := read(t, src, 8, 3); got != "a folder" {
		t.Errorf("link.bin from 3: %q", got)
	}
	sum, files, err := source.Digest(t.Context(), src, nil)
	if err != nil {
		t.Fatal(err)
	}
	if files[3].SHA256 != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("SHA-256 of an empty file: %s", files[3].SHA256)
	}
	shell := exec.Command("sh", "-c", documentedCommand(t))
	shell.Dir = filepath.Dir(root)
	out, err := shell.Output()
	if err != nil {
		t.Fatal(err)
	}
	if want, _, _ := strings.Cut(string(out), " "); sum != want {
		t.Errorf("digest %s, and the documented command prints %s", sum, want)
	}
}

// documentedCommand is the command of docs/models.md that prints a folder's digest.
func documentedCommand(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/models.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "cd folder && find") {
			return strings.Replace(line, "cd folder", "cd model", 1)
		}
	}
	t.Fatal("docs/models.md says no command that prints a folder's digest")
	return ""
}

func TestHubCacheSnapshot(t *testing.T) {
	cache := lay(t, map[string]string{
		"blobs/aa":                       "weights",
		"blobs/bb":                       "config",
		"refs/main":                      "0123abcd",
		"snapshots/0123abcd/w.gguf":      "-> ../../blobs/aa",
		"snapshots/0123abcd/sub/c.json":  "-> ../../../blobs/bb",
		"snapshots/0123abcd/sub/d.gguf":  "-> ../../../blobs/aa",
		"snapshots/0123abcd/sub/sub/e.x": "-> ../../../../blobs/aa",
	})
	src := openLocal(t, filepath.Join(cache, "snapshots", "0123abcd"), true)
	if got, want := names(src), []string{"sub/c.json", "sub/d.gguf", "sub/sub/e.x", "w.gguf"}; !slices.Equal(got, want) {
		t.Errorf("files: %q", got)
	}
	if got := read(t, src, 3, 0); got != "weights" {
		t.Errorf("w.gguf: %q", got)
	}
	_, err := source.Local(cache, true, nil)
	wantError(t, err, "hub's cache", "snapshots/0123abcd")
}

func TestLocalShards(t *testing.T) {
	root := lay(t, map[string]string{
		"m-00001-of-00003.gguf": "one",
		"m-00002-of-00003.gguf": "two",
		"m-00003-of-00003.gguf": "three",
		"m-00001-of-00002.gguf": "of another set",
		"README.md":             "no shard",
	})
	src := openLocal(t, filepath.Join(root, "m-00002-of-00003.gguf"), true)
	if got, want := names(src), []string{"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"}; !slices.Equal(got, want) {
		t.Errorf("files: %q", got)
	}
	_, err := source.Local(filepath.Join(root, "m-00001-of-00002.gguf"), true, nil)
	wantError(t, err, "lacks m-00002-of-00002.gguf", "has 2 shards")
}

func TestLocalFaults(t *testing.T) {
	fifo := filepath.Join(lay(t, map[string]string{"a": "a"}), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		files  map[string]string
		path   string // in the folder
		folder bool
		want   []string
	}{
		{"nothing there", nil, "x.gguf", false, []string{"isn't on this machine", "x.gguf"}},
		{"no such folder", nil, "x", true, []string{"isn't on this machine"}},
		{"a folder with a file's name", map[string]string{"x.gguf/a": ""}, "x.gguf", false, []string{"is a folder"}},
		{"a file with a folder's name", map[string]string{"x": ""}, "x", true, []string{"is a file", ".gguf"}},
		{"an empty folder", map[string]string{".hidden": ""}, "", true, []string{"no files", "hidden"}},
		{"a link that leaves", map[string]string{"x": "-> /etc/passwd"}, "", true, []string{"leads out of the folder", "/etc/passwd"}},
		{"a link to a folder that leaves", map[string]string{"x": "-> .."}, "", true, []string{"leads out of the folder"}},
		{"a link to nothing", map[string]string{"x": "-> y"}, "", true, []string{"leads to nothing"}},
		{"a link to what is above it", map[string]string{"a/b": "-> ."}, "", true, []string{"leads back"}},
		{"a line break in a name", map[string]string{"a\nb": ""}, "", true, []string{"rename"}},
		{"bytes in a name that are no text", map[string]string{"a\xff": ""}, "", true, []string{"rename"}},
		{"a pipe", nil, fifo, true, []string{"neither a file nor a folder"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(lay(t, c.files), c.path)
			if filepath.IsAbs(c.path) {
				path = filepath.Dir(c.path)
			}
			_, err := source.Local(path, c.folder, nil)
			wantError(t, err, c.want...)
		})
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, and one with %q was due", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error %q doesn't say %q", err, part)
		}
	}
}

// A file is never a mixture of two.
func TestLocalFileChanges(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"written to, the time set back": func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("X"), 1)
			return errors.Join(err, f.Close(), os.Chtimes(path, info.ModTime(), info.ModTime()))
		},
		"shortened": func(path string) error { return os.Truncate(path, 3) },
		"grown":     func(path string) error { return os.Truncate(path, 30) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(lay(t, map[string]string{"m.gguf": "0123456789"}), "m.gguf")
			src := openLocal(t, path, false)
			r, err := src.Open(t.Context(), 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := io.ReadFull(r, make([]byte, 2)); err != nil {
				t.Fatal(err)
			}
			before := src.ID()
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(r); !errors.Is(err, transfer.ErrChanged) {
				t.Errorf("reading on: %v", err)
			}
			if _, err := src.Open(t.Context(), 0, 0); !errors.Is(err, transfer.ErrChanged) {
				t.Errorf("opening it again: %v", err)
			}
			if openLocal(t, path, false).ID() == before {
				t.Error("it has the ID that it had before")
			}
		})
	}
	t.Run("replaced", func(t *testing.T) {
		path := filepath.Join(lay(t, map[string]string{"m.gguf": "0123456789"}), "m.gguf")
		src := openLocal(t, path, false)
		if err := os.WriteFile(path+".new", []byte("9876543210"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		if _, err := src.Open(t.Context(), 0, 0); !errors.Is(err, transfer.ErrChanged) {
			t.Errorf("opening it: %v", err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := src.Open(t.Context(), 0, 0); !errors.Is(err, transfer.ErrChanged) {
			t.Errorf("opening what is gone: %v", err)
		}
	})
}

func TestHoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	data := map[int64]int64{8 << 20: 1 << 20, 32 << 20: 2 << 20} // length of each by its offset
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for at, n := range data {
		if _, err := f.WriteAt(bytes.Repeat([]byte("x"), int(n)), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	src := openLocal(t, path, false)
	var found uint64
	for offset := uint64(0); ; {
		start, end, ok := src.(transfer.Holes).Data(0, offset)
		if !ok {
			break
		}
		if start < offset || end <= start || end > size {
			t.Fatalf("from %d on, data from %d to %d", offset, start, end)
		}
		found += end - start
		for at, n := range data {
			if uint64(at) < end && start < uint64(at+n) {
				delete(data, at)
			}
		}
		offset = end
	}
	if len(data) > 0 {
		t.Errorf("data that is a hole by its account: %v", data)
	}
	if found > 8<<20 {
		t.Errorf("%d bytes of data in a file that has 3 MiB of it", found)
	}
}

// cacheFor is a cache of the test's own.
func cacheFor(t *testing.T) *source.Cache {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return source.UserCache()
}

func TestDigestIsRemembered(t *testing.T) {
	cache := cacheFor(t)
	root := lay(t, map[string]string{"m.gguf": "0123456789"})
	path := filepath.Join(root, "m.gguf")
	want := sha256.Sum256([]byte("0123456789"))
	digest := func() (sum string, hashed uint64) {
		src, err := source.Local(path, false, cache)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		sum, _, err = source.Digest(t.Context(), src, func(p transfer.Progress) { hashed = p.Done })
		if err != nil {
			t.Fatal(err)
		}
		return sum, hashed
	}
	// A file that was written just now could be written to again at the same time on its clock.
	for range 2 {
		if sum, hashed := digest(); sum != hex.EncodeToString(want[:]) || hashed != 10 {
			t.Fatalf("fresh: %s after %d bytes", sum, hashed)
		}
	}
	source.SetSettled(t, 0)
	time.Sleep(20 * time.Millisecond) // the resolution of the file system's clock
	digest()
	if sum, hashed := digest(); sum != hex.EncodeToString(want[:]) || hashed != 0 {
		t.Errorf("unchanged: %s after %d bytes", sum, hashed)
	}
	if err := os.WriteFile(path, []byte("9876543210"), 0o644); err != nil {
		t.Fatal(err)
	}
	other := sha256.Sum256([]byte("9876543210"))
	if sum, hashed := digest(); sum != hex.EncodeToString(other[:]) || hashed != 10 {
		t.Errorf("changed: %s after %d bytes", sum, hashed)
	}
}

func TestDigestEndsWhenItIsCancelled(t *testing.T) {
	src := openLocal(t, filepath.Join(lay(t, map[string]string{"m.gguf": "0123456789"}), "m.gguf"), false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := source.Digest(ctx, src, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
}

func TestMissingFileIsRecognized(t *testing.T) {
	_, err := source.Local(filepath.Join(t.TempDir(), "x.gguf"), false, nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error: %v", err)
	}
}
