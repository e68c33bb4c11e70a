package quadlet

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// place is a quadlet in a file system of the test's. What needs Podman or systemd is tested in a VM.
func place(t *testing.T) Place {
	t.Helper()
	p := Place{Root: t.TempDir(), User: "llm-a", UID: 990, Home: "/var/lib/llm-a", Name: "llmhost-a"}
	for _, dir := range []string{"/etc", "/run/user/990", p.Home} {
		if err := os.MkdirAll(p.at(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p Place) write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(p.at(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.at(path), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestQuadletIsWrittenAndRemoved(t *testing.T) {
	p := place(t)
	none, err := p.Load()
	if err != nil || none.Exists {
		t.Fatal(none, err)
	}
	want := &Files{Exists: true, Content: "[Container]\nImage=a\n"}
	if err := p.Install(t.Context(), none, want); err != nil {
		t.Fatal(err)
	}
	is, err := p.Load()
	if diff := cmp.Diff(want, is); diff != "" || err != nil {
		t.Fatalf("%v\n%s", err, diff)
	}
	if err := p.Install(t.Context(), is, &Files{}); err != nil {
		t.Fatal(err)
	}
	if is, err = p.Load(); err != nil || is.Exists {
		t.Errorf("after its removal: %v, %v", is, err)
	}
}

// Whatever overrules the quadlet or its service is found, wherever it is, and removed.
func TestWhatOverrulesIsFoundAndRemoved(t *testing.T) {
	p := place(t)
	want := []string{
		"/etc/containers/systemd/users/990/llmhost-a.container.d/x.conf",
		"/etc/containers/systemd/users/llmhost-a.container",
		"/etc/systemd/user/llmhost-a.service.d/x.conf",
		"/run/user/990/systemd/user.control/llmhost-a.service.d/50-MemoryMax.conf",
		"/var/lib/llm-a/.config/containers/systemd/llmhost-a.container",
		"/var/lib/llm-a/.config/systemd/user/llmhost-a.service",
	}
	for _, file := range want {
		p.write(t, file, "x")
	}
	p.write(t, "/var/lib/llm-a/.config/systemd/user/other.service.d/x.conf", "x")
	is, err := p.Load()
	if diff := cmp.Diff(want, is.Overrides); diff != "" || err != nil {
		t.Fatalf("%v\n%s", err, diff)
	}
	if err := p.Install(t.Context(), is, &Files{Exists: true, Content: "a"}); err != nil {
		t.Fatal(err)
	}
	if is, err = p.Load(); err != nil || len(is.Overrides) > 0 {
		t.Errorf("left: %v, %v", is.Overrides, err)
	}
	if _, err := os.Stat(p.at("/var/lib/llm-a/.config/systemd/user/other.service.d/x.conf")); err != nil {
		t.Errorf("somebody else's drop-in: %v", err)
	}
}

// A link that the user puts in place of a folder has nothing removed that is elsewhere.
func TestLinksOfTheUserLeadNowhere(t *testing.T) {
	p := place(t)
	p.write(t, "/etc/victim.d/x.conf", "keep")
	if err := os.MkdirAll(p.at(p.Home+"/.config/systemd/user"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(p.at("/etc/victim.d"), p.at(p.Home+"/.config/systemd/user/llmhost-a.service.d")); err != nil {
		t.Fatal(err)
	}
	is, err := p.Load()
	if err != nil || !slices.Equal(is.Overrides, []string{"/var/lib/llm-a/.config/systemd/user/llmhost-a.service.d"}) {
		t.Fatalf("%v, %v", is.Overrides, err)
	}
	if err := p.Install(t.Context(), is, &Files{Exists: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.at("/etc/victim.d/x.conf")); err != nil {
		t.Errorf("a file that the link led to: %v", err)
	}
}
