package models_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/models"
)

func list(t *testing.T, cache digest.Cache, folders, paths []string) map[string]*models.Listed {
	t.Helper()
	all, err := models.List(t.Context(), cache, folders, paths)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*models.Listed{}
	for _, l := range all {
		found[l.Path] = l
	}
	return found
}

func TestListFindsModelsAndUploadsAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	cache := digest.Cache(filepath.Join(dir, "cache"))
	srv := filepath.Join(dir, "srv")
	write(t, filepath.Join(srv, "known.gguf"), "weights")
	write(t, filepath.Join(srv, "unknown.gguf"), "weights of another")
	write(t, filepath.Join(srv, "repository/model.safetensors"), "x")
	write(t, filepath.Join(srv, ".new.gguf.llmhost-part/file"), "half")
	write(t, filepath.Join(srv, "README"), "no model")
	write(t, filepath.Join(srv, "photos/cat.jpg"), "no model")
	write(t, filepath.Join(srv, ".hidden.gguf"), "no model")
	write(t, filepath.Join(dir, "elsewhere"), "a model by the ledger")
	must(t, os.Symlink("known.gguf", filepath.Join(srv, "link.gguf")))
	must(t, os.Link(filepath.Join(srv, "known.gguf"), filepath.Join(srv, "twin.gguf")))
	look(t, cache, filepath.Join(srv, "known.gguf"))

	found := list(t, cache, []string{srv, filepath.Join(dir, "absent")}, []string{filepath.Join(dir, "elsewhere"), filepath.Join(dir, "gone")})
	var names []string
	for path := range found {
		names = append(names, strings.TrimPrefix(path, dir+"/"))
	}
	slices.Sort(names)
	want := []string{"elsewhere", "srv/.new.gguf.llmhost-part", "srv/known.gguf", "srv/repository", "srv/twin.gguf", "srv/unknown.gguf"}
	if !slices.Equal(names, want) {
		t.Fatalf("listed %q, want %q", names, want)
	}
	known, unknown, part := found[srv+"/known.gguf"], found[srv+"/unknown.gguf"], found[srv+"/.new.gguf.llmhost-part"]
	if known.SHA256 != sum("weights") || unknown.SHA256 != "" {
		t.Errorf("digests %q and %q: what isn't remembered must not be read for a list", known.SHA256, unknown.SHA256)
	}
	if !part.Partial || part.SHA256 != "" || known.Partial {
		t.Errorf("the upload: %+v", part)
	}
	if !slices.Equal(known.SameAs, []string{srv + "/twin.gguf"}) || known.Disk != 0 || unknown.Disk == 0 {
		t.Errorf("shared with %q, %d and %d bytes would be free", known.SameAs, known.Disk, unknown.Disk)
	}
}

// Whoever has a model open or mapped uses it, whatever name it had when that was done.
func TestListFindsUsers(t *testing.T) {
	dir := t.TempDir()
	cache := digest.Cache(filepath.Join(dir, "cache"))
	open, mapped := filepath.Join(dir, "srv/open.gguf"), filepath.Join(dir, "srv/mapped.gguf")
	write(t, open, "weights")
	write(t, mapped, "weights too")
	write(t, filepath.Join(dir, "srv/idle.gguf"), "nobody's")

	sleeper := exec.Command("sleep", "60")
	f, err := os.Open(open)
	must(t, err)
	defer f.Close()
	sleeper.Stdin = f
	must(t, sleeper.Start())
	defer func() { sleeper.Process.Kill(); sleeper.Wait() }()
	mapper := exec.Command(os.Args[0], "-test.run=^TestMapsAFile$")
	mapper.Env = append(os.Environ(), "LLMHOST_TEST_MAP="+mapped)
	out, err := mapper.StdoutPipe()
	must(t, err)
	in, err := mapper.StdinPipe()
	must(t, err)
	must(t, mapper.Start())
	defer func() { in.Close(); mapper.Wait() }()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}

	must(t, os.Rename(open, filepath.Join(dir, "srv/renamed.gguf")))
	found := list(t, cache, []string{filepath.Join(dir, "srv")}, nil)
	for name, used := range map[string]bool{"renamed.gguf": true, "mapped.gguf": true, "idle.gguf": false} {
		if got := found[filepath.Join(dir, "srv", name)].UsedBy; (len(got) > 0) != used {
			t.Errorf("%s is used by %q", name, got)
		}
	}
}

// TestMapsAFile is no test: it is the process that has a file mapped and no longer open.
func TestMapsAFile(t *testing.T) {
	path := os.Getenv("LLMHOST_TEST_MAP")
	if path == "" {
		return
	}
	f, err := os.Open(path)
	must(t, err)
	memory, err := unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ, unix.MAP_SHARED)
	must(t, err)
	f.Close()
	os.Stdout.WriteString("m")
	os.Stdin.Read(make([]byte, 1))
	_ = unix.Munmap(memory)
}
