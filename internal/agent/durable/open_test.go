package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// linked is a folder a/b/c with the file "here", and links on the way to it: direct, relative
// with dots, and a chain.
func linked(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "a/b/c"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "a/b/c/here"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"absolute": filepath.Join(root, "a"), "relative": "a/../a/./b", "chain": "absolute/b",
		"loop": "loop", "dangling": "nowhere", "file": "a/b/c/here",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestOwnLinksAreFollowed(t *testing.T) {
	root := linked(t)
	for _, way := range []string{"a/b/c", "absolute/b/c", "relative/c", "chain/c"} {
		d, err := Open(filepath.Join(root, way))
		if err != nil {
			t.Errorf("%s: %v", way, err)
			continue
		}
		if is, err := d.Lstat("here"); err != nil || is == nil {
			t.Errorf("%s led elsewhere: %v, %v", way, is, err)
		}
		d.Close()
	}
	for way, want := range map[string]error{
		"loop/c": unix.ELOOP, "dangling/c": fs.ErrNotExist, "absolute/x": fs.ErrNotExist, "file": unix.ENOTDIR, "file/c": unix.ENOTDIR, "absolute/b/c/here/x": unix.ENOTDIR,
	} {
		if _, err := Open(filepath.Join(root, way)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", way, err, want)
		}
	}
}

func TestForeignLinksAreRefused(t *testing.T) {
	root := linked(t)
	nobodys := func(uint32) bool { return false }
	for _, way := range []string{"absolute/b/c", "relative/c", "chain/c"} {
		if _, err := open(filepath.Join(root, way), nobodys); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
			t.Errorf("%s: %v", way, err)
		}
	}
	d, err := open(filepath.Join(root, "a/b/c"), nobodys)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if !ours(0) || !ours(uint32(os.Geteuid())) || ours(uint32(os.Geteuid())+1) {
		t.Error("whose links count")
	}
}
