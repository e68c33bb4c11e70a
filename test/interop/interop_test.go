package interop

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// llmhost as it ships, with its own program: the arrangement of the project suits both.
func TestShippedProgram(t *testing.T) {
	p := newProject(t, "github.com/llmhost/llmhost/stacks/program")
	p.write("hosts/desk.hcl", "host \"desk\" {\n  timezone = \"Europe/Berlin\"\n  local {}\n}\n")
	takeTurns(t, p.llmhost, p.pulumi, "desk")

	// The settings of a stack are in one place.
	p.pulumi("config", "set", "-s", "desk", "--secret", "word", "s3cret")
	if got := strings.TrimSpace(p.llmhost("config", "get", "-s", "desk", "word")); got != "s3cret" {
		t.Errorf("llmhost reads the secret that the pulumi CLI has set as %q", got)
	}
	p.pulumi("destroy", "-s", "desk", "--yes", "--skip-preview")
	p.llmhost("stack", "rm", "desk", "--yes")
}

// Resources on a machine, among them a secret: made by one, looked at, changed and removed by
// the other, through the provider in process and the provider as a plugin.
func TestResourcesBothWays(t *testing.T) {
	if os.Getuid() != 0 && exec.Command("sudo", "-n", "true").Run() != nil {
		t.Skip("NOT TESTED: the agent changes this machine (below a temporary folder) as root, so this test needs root, or sudo without a password")
	}
	for name, c := range map[string]struct{ first, second func(*project) side }{
		"llmhost first": {func(p *project) side { return p.embedded }, func(p *project) side { return p.pulumi }},
		"pulumi first":  {func(p *project) side { return p.pulumi }, func(p *project) side { return p.embedded }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t, "github.com/llmhost/llmhost/test/interop/files")
			host := t.TempDir()
			first, second := c.first(p), c.second(p)
			p.pulumi("stack", "init", "dev")
			configure(t, first, host)
			takeTurns(t, first, second, "dev")

			// One tampers, both see it, and the second repairs it.
			plain := filepath.Join(host, "folder/plain")
			if err := os.WriteFile(plain, []byte("tampered\n"), 0o640); err != nil {
				t.Fatal(err)
			}
			for _, s := range []side{first, second} {
				if out := s("refresh", "-s", "dev", "--preview-only", "--diff"); !strings.Contains(out, "tampered") {
					t.Errorf("a refresh does not show the drift:\n%s", out)
				}
			}
			second("up", "-s", "dev", "--yes", "--skip-preview", "--refresh")
			wantFile(t, plain, "one\n")

			// The second changes, the first removes.
			second("config", "set", "-s", "dev", "content", "two\n")
			second("up", "-s", "dev", "--yes", "--skip-preview")
			wantFile(t, plain, "two\n")
			wantFile(t, filepath.Join(host, "folder/secret"), "s3cret")
			first("preview", "-s", "dev", "--expect-no-changes")
			first("destroy", "-s", "dev", "--yes", "--skip-preview")
			if left, _ := filepath.Glob(filepath.Join(host, "*")); len(left) != 0 {
				t.Errorf("destroy left %v", left)
			}
		})
	}
}

// takeTurns deploys with the first, and makes sure that there is nothing to do for either.
func takeTurns(t *testing.T, first, second side, stack string) {
	t.Helper()
	first("up", "-s", stack, "--yes", "--skip-preview")
	second("preview", "-s", stack, "--expect-no-changes")
	second("up", "-s", stack, "--yes", "--skip-preview", "--expect-no-changes")
	second("refresh", "-s", stack, "--yes", "--skip-preview", "--expect-no-changes")
	first("preview", "-s", stack, "--refresh", "--expect-no-changes")
	if diff := cmp.Diff(first("stack", "export", "-s", stack), second("stack", "export", "-s", stack)); diff != "" {
		t.Errorf("the two export different states:\n%s", diff)
	}
}

func configure(t *testing.T, s side, host string) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"dir": host, "state": t.TempDir(), "owner": me.Username, "group": group.Name, "content": "one\n"} {
		s("config", "set", "-s", "dev", name, value)
	}
	s("config", "set", "-s", "dev", "--secret", "secret", "s3cret")
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	have, err := os.ReadFile(path)
	if err != nil || string(have) != want {
		t.Errorf("%s has %q (%v), want %q", path, have, err, want)
	}
}
