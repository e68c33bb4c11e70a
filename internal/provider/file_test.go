package provider_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
)

func fileInputs(t *testing.T, path, content string) resource.PropertyMap {
	return mine(t, resource.PropertyMap{"path": str(path), "content": str(content)})
}

func TestFileLifecycle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	s := newStack(t, realHost(t))
	s.mustUp("File", "a", fileInputs(t, path, "one\n"), "create")
	wantFile(t, path, "one\n", 0o644)
	s.mustUp("File", "a", fileInputs(t, path, "one\n"), "same")
	s.mustUp("File", "a", with(fileInputs(t, path, "two\n"), "mode", str("0600")), "update")
	wantFile(t, path, "two\n", 0o600)
	if got := s.drift("a"); got != nil {
		t.Errorf("drift of an untouched file: %v", got)
	}
	s.destroy("a")
	wantGone(t, path)
}

// A file whose path changes is written at the new place before the old one is removed.
func TestFileMoves(t *testing.T) {
	dir := t.TempDir()
	old, now := filepath.Join(dir, "old"), filepath.Join(dir, "now")
	s := newStack(t, realHost(t))
	s.mustUp("File", "a", fileInputs(t, old, "text"), "create")
	s.mustUp("File", "a", fileInputs(t, now, "text"), "replace")
	wantGone(t, old)
	wantFile(t, now, "text", 0o644)
}

func TestFileDrift(t *testing.T) {
	for name, test := range map[string]struct {
		change func(path string) error
		want   []string
	}{
		"edited":  {func(p string) error { return os.WriteFile(p, []byte("edited"), 0o644) }, []string{"content"}},
		"emptied": {func(p string) error { return os.Truncate(p, 0) }, []string{"content"}},
		"chmod":   {func(p string) error { return os.Chmod(p, 0o666) }, []string{"mode"}},
		"binary":  {func(p string) error { return os.WriteFile(p, []byte{0xff, 0xfe, 0}, 0o644) }, []string{"content"}},
		"huge":    {func(p string) error { return os.Truncate(p, 5<<20) }, []string{"content"}},
		"deleted": {os.Remove, []string{"gone"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a")
			s := newStack(t, realHost(t))
			in := fileInputs(t, path, "text")
			s.mustUp("File", "a", in, "create")
			if err := test.change(path); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, s.drift("a")); diff != "" {
				t.Fatalf("drift (-want +got):\n%s", diff)
			}
			if test.want[0] == "gone" {
				return
			}
			s.refresh("a")
			if raw := s.states["a"].inputs["content"].StringValue(); len(raw) > 1000 {
				t.Errorf("a content of %d bytes came into the state", len(raw))
			}
			s.mustUp("File", "a", in, "update")
			wantFile(t, path, "text", 0o644)
		})
	}
}

func TestSecretContentIsNeverRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	s := newStack(t, realHost(t))
	in := mine(t, resource.PropertyMap{"path": str(path), "secretContent": secret("hunter2"), "mode": str("0600")})
	saved := s.mustUp("File", "a", in, "create")
	wantFile(t, path, "hunter2", 0o600)
	if !saved.outputs["secretContent"].IsSecret() {
		t.Error("the content isn't a secret in state")
	}
	if v, ok := saved.outputs["sha256"]; ok {
		t.Errorf("a digest that can be guessed from is in state: %v", v)
	}
	if got := s.drift("a"); got != nil {
		t.Errorf("drift of an untouched secret: %v", got)
	}
	if err := os.WriteFile(path, []byte("other secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"secretContent"}, s.drift("a")); diff != "" {
		t.Errorf("drift of a changed secret (-want +got):\n%s", diff)
	}
	now, err := s.read("a")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []resource.PropertyMap{now.Inputs, now.Outputs} {
		v := m["secretContent"]
		if !v.IsSecret() || !strings.HasPrefix(v.SecretValue().Element.StringValue(), "<changed on the host") {
			t.Errorf("read returned %v", v)
		}
		if strings.Contains(fmt.Sprint(m), "other secret") {
			t.Error("read has returned the host's secret")
		}
	}
	s.refresh("a")
	s.mustUp("File", "a", in, "update")
	wantFile(t, path, "hunter2", 0o600)
}

// An import can't know whether a file holds a secret, so one that isn't for everybody isn't
// read.
func TestImportedFile(t *testing.T) {
	dir := t.TempDir()
	open, closed := filepath.Join(dir, "open"), filepath.Join(dir, "closed")
	if err := errors.Join(os.WriteFile(open, []byte("text"), 0o644), os.WriteFile(closed, []byte("hunter2"), 0o640)); err != nil {
		t.Fatal(err)
	}
	s := newStack(t, realHost(t))
	got := s.importID("File", "open", open)
	if got.inputs["content"].StringValue() != "text" || got.inputs["mode"].StringValue() != "0644" || got.inputs["path"].StringValue() != open {
		t.Errorf("imported %v", got.inputs)
	}
	s.mustUp("File", "open", fileInputs(t, open, "text"), "same")
	got = s.importID("File", "closed", closed)
	if v := got.inputs["secretContent"]; !v.IsSecret() || strings.Contains(v.SecretValue().Element.StringValue(), "hunter2") {
		t.Errorf("imported a closed file as %v", got.inputs)
	}
	if _, ok := got.outputs["sha256"]; ok {
		t.Error("the digest of a closed file is in state")
	}
}

func TestForeignFileIsRefusedUnlessAdopted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, []byte("the user's"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newStack(t, realHost(t))
	_, err := s.up("File", "a", fileInputs(t, path, "text"))
	if err == nil || !strings.HasPrefix(err.Error(), "File "+path+": ") || strings.Contains(err.Error(), "rpc error") {
		t.Fatalf("a foreign file was not refused plainly: %v", err)
	}
	wantFile(t, path, "the user's", 0o644)
	s.mustUp("File", "a", with(fileInputs(t, path, "text"), "adopt", boolean(true)), "create")
	wantFile(t, path, "text", 0o644)
	s.destroy("a")
	wantFile(t, path, "text", 0o644) // it was there before us
	if !strings.Contains(s.log.text(), "WARNING: File "+path+" was left on the host") {
		t.Errorf("no word about the file that was left:\n%s", s.log.text())
	}
}

// up --replace creates the file over itself and then deletes "the old one": the deletion
// carries the old generation and must not remove what was just written.
func TestForcedReplacementKeepsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	s := newStack(t, realHost(t))
	s.mustUp("File", "a", fileInputs(t, path, "text"), "create")
	if err := s.replace("File", "a", fileInputs(t, path, "text")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "text", 0o644)
	s.destroy("a")
	wantGone(t, path)
}

// A replacement that is refused before it touched the host has begun nothing. Were it half a
// success, the engine would delete the old file next, by the very generation that it still has.
func TestRefusedReplacementKeepsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	s := newStack(t, realHost(t))
	old := s.mustUp("File", "a", fileInputs(t, path, "text"), "create")
	err := s.replace("File", "a", with(fileInputs(t, path, "text"), "owner", str("nobody-of-this-name")))
	var half *plugin.InitError
	if err == nil || errors.As(err, &half) {
		t.Errorf("want a replacement that hasn't begun, got %v", err)
	}
	if s.states["a"] != old {
		t.Error("the state of the old file was replaced")
	}
	wantFile(t, path, "text", 0o644)
}

// A creation that a crash has cut off from the state is found again by its inputs.
func TestInterruptedCreationIsContinued(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	s := newStack(t, realHost(t))
	s.mustUp("File", "a", fileInputs(t, path, "text"), "create")
	delete(s.states, "a")
	s.mustUp("File", "a", fileInputs(t, path, "text"), "create")
	delete(s.states, "a")
	s.importID("File", "a", path)
	s.destroy("a")
	wantGone(t, path)
}

// A preview reads only: the agent sees no call that changes anything.
func TestPreviewChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	h := realHost(t)
	s := newStack(t, h)
	h.forget()
	s.preview("File", "a", fileInputs(t, path, "text"))
	s.mustUp("File", "a", fileInputs(t, path, "text"), "create")
	if got := h.called(); !slices.Equal(got, []string{"ListOwned", "AcquireLease", "PutFile"}) {
		t.Errorf("a preview and a creation called %v", got)
	}
	h.forget()
	s.preview("File", "a", fileInputs(t, path, "other"))
	if got := h.called(); got != nil {
		t.Errorf("a preview called %v", got)
	}
	wantFile(t, path, "text", 0o644)
}

func TestFileCheck(t *testing.T) {
	for name, test := range map[string]struct {
		in   resource.PropertyMap
		want string
	}{
		"relative":         {resource.PropertyMap{"path": str("etc/a"), "content": str("")}, `path: must be an absolute path, not "etc/a"`},
		"two spellings":    {resource.PropertyMap{"path": str("/etc/../a"), "content": str("")}, `path: must be written as "/a"`},
		"no content":       {resource.PropertyMap{"path": str("/a")}, "content: exactly one of content and secretContent must be set"},
		"two contents":     {resource.PropertyMap{"path": str("/a"), "content": str(""), "secretContent": secret("")}, "content: exactly one of"},
		"mode":             {resource.PropertyMap{"path": str("/a"), "content": str(""), "mode": str("644")}, `mode: must be four octal digits such as "0644"`},
		"owner":            {resource.PropertyMap{"path": str("/a"), "content": str(""), "owner": str("Root!")}, "owner: must be a user or group name"},
		"all at once":      {resource.PropertyMap{"path": str("a"), "mode": str("x")}, "content: exactly one of content and secretContent must be set\nmode: must be"},
		"too large":        {resource.PropertyMap{"path": str("/a"), "content": str(strings.Repeat("x", 1<<20+1))}, "larger than 1 MiB"},
		"secret too large": {resource.PropertyMap{"path": str("/a"), "secretContent": secret(strings.Repeat("x", 1<<20+1))}, "larger than 1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStackWith(t, offline(t))
			_, err := s.up("File", "a", test.in)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func wantFile(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != content || info.Mode().Perm() != mode {
		t.Errorf("%s holds %q with mode %04o, want %q with %04o", path, have, info.Mode().Perm(), content, mode)
	}
}

func wantGone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there (%v)", path, err)
	}
}

// A link in a file's place could lead a write anywhere: it shows as drift and is not followed.
func TestLinkInAFilesPlace(t *testing.T) {
	for name, in := range map[string]resource.PropertyMap{"content": {"content": str("text")}, "secretContent": {"secretContent": secret("text")}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, target := filepath.Join(dir, "a"), filepath.Join(dir, "victim")
			s := newStack(t, realHost(t))
			in := mine(t, with(in, "path", str(path)))
			s.mustUp("File", "a", in, "create")
			if err := errors.Join(os.Remove(path), os.WriteFile(target, []byte("victim"), 0o644), os.Symlink(target, path)); err != nil {
				t.Fatal(err)
			}
			if got := s.drift("a"); !slices.Contains(got, name) {
				t.Errorf("drift %v, want %s in it", got, name)
			}
			s.refresh("a")
			_, err := s.up("File", "a", in)
			if err == nil || strings.Contains(err.Error(), "rpc error") {
				t.Errorf("a link was not refused in words: %v", err)
			}
			wantFile(t, target, "victim", 0o644)
		})
	}
}
