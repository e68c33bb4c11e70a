package packages

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/task"
)

// Real output of dpkg --verify (dpkg 1.22) and rpm --verify (rpm 4.18), shortened.
func TestModified(t *testing.T) {
	out := `??5?????? c /etc/docker/daemon.json
??5??????   /usr/bin/llama-server
missing     /usr/lib/x86_64-linux-gnu/libggml.so.0
missing     /usr/share/doc/llama.cpp-tools/copyright
missing   c /etc/llama.conf
S.5....T.    /usr/libexec/tool
..5......  d /usr/share/man/man1/a.1.gz
dpkg: error: something else
`
	want := []string{"/usr/bin/llama-server", "/usr/lib/x86_64-linux-gnu/libggml.so.0", "/usr/libexec/tool"}
	if diff := cmp.Diff(want, modified(out)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNamesThatPackageManagersMisunderstandAreRefused(t *testing.T) {
	for _, name := range []string{"", "-y", "--option=a", "a b", "a;b", "../a", "./a.deb", "/tmp/a.deb", "a*", "a=1", "a/sid", "task^", "libc6-", "a\n", "$(a)"} {
		if ValidName(name) == nil {
			t.Errorf("%q is taken for a package", name)
		}
	}
	for _, name := range []string{"llama.cpp-tools", "libstdc++6", "docker.io", "python3.13-venv", "NetworkManager", "g++"} {
		if err := ValidName(name); err != nil {
			t.Error(err)
		}
	}
	if err := Install(t.Context(), "docker.io", "1 --force", false, func(string) {}); err == nil {
		t.Error("a version with an option in it is taken")
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	for said, want := range map[string]string{
		"E: Unable to locate package llama.cpp-tols":                          "the host's archives don't have it",
		"E: Version '1-1' for 'llama.cpp-tools' was not found":                "apt-cache madison",
		"E: Packages need to be removed but remove is disabled.":              "would remove other packages",
		"Error: Unable to find a match: llama-cpp":                            "the host's archives don't have it",
		"E: Package 'nvidia-container-toolkit' has no installation candidate": "the host's archives don't have it",
	} {
		err := refused(&task.Failed{Task: "apt install", Said: []string{"Reading package lists...", said}}, "x")
		if !strings.Contains(err.Error(), said) {
			t.Errorf("%v hides what apt said", err)
		}
		var f *fault.Error
		if !errors.As(err, &f) {
			t.Fatalf("%v has no hint", err)
		}
		if hint := f.Metadata["hint"]; !strings.Contains(hint, want) {
			t.Errorf("after %q the hint is %q, not %q", said, hint, want)
		}
	}
}
