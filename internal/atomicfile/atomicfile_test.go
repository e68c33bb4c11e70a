package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// holds fails unless a folder has exactly one entry, a private file with this content.
func holds(t *testing.T, path, content string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("the file holds %q (%v), want %q", got, err, content)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("its mode is %v (%v), want a private file", info.Mode(), err)
	}
	alone(t, filepath.Dir(path), 1)
}

func alone(t *testing.T, dir string, want int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != want {
		t.Errorf("the folder has %v (%v), want %d entries: temporary files are removed", entries, err, want)
	}
}

func TestWriteMakesAndReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for _, content := range []string{"first", "second, longer", ""} {
		if err := Write(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		holds(t, path, content)
	}
}

// A link that somebody has put at the path leads no write elsewhere.
func TestWriteReplacesALinkItself(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.Symlink(other, path); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("ours")); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "ours")
	if got, err := os.ReadFile(other); err != nil || string(got) != "theirs" {
		t.Errorf("the link's target holds %q (%v)", got, err)
	}
}

func TestWriteNewKeepsWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := WriteNew(path, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := WriteNew(path, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second file at the same path: %v, want an error that it exists", err)
	}
	holds(t, path, "first")
}

func TestAFileThatIsNotEndedIsNotThere(t *testing.T) {
	dir := t.TempDir()
	p, err := Create(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteString("half"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there before it is ended: %v", err)
	}
	p.Discard()
	alone(t, dir, 0)
}

// A failure in the middle leaves the old file and nothing else.
func TestAFailureLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := Write(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	p, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	p.File.Close() // as if the disk had failed
	if err := p.Replace(); err == nil {
		t.Error("a file that couldn't be written got its name")
	}
	p.Discard()
	holds(t, path, "old")
}
