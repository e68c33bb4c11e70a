package templates

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what was rendered to testdata")

func TestTexts(t *testing.T) {
	tested := map[string]bool{}
	for name, text := range map[string]func() (string, error){
		"agent-start": Launcher{StartScript: "llmhost_start() { :; }\n", StateDir: "/var/lib/llmhost"}.Text,
		"sudoers":     SudoRule{User: "llmhost", Launcher: "/usr/local/lib/llmhost/agent-start"}.Text,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := text()
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("rendered otherwise than %s:\n%s", golden, diff)
			}
		})
		tested[name+".tmpl"] = true
	}
	all, err := fs.Glob(files, "*.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if !tested[name] {
			t.Errorf("%s is rendered by no test", name)
		}
	}
}

// A value that gets through is part of what root does on somebody's machine.
func TestValuesThatMeanMoreAreRefused(t *testing.T) {
	const launcher = "/usr/local/lib/llmhost/agent-start"
	for _, user := range []string{"", "ALL", "Ops", "%wheel", "#0", "+net", "!ops", "a,b", "a b", "a\nb", "ops ALL=(ALL) NOPASSWD: ALL #"} {
		if text, err := (SudoRule{User: user, Launcher: launcher}).Text(); err == nil {
			t.Errorf("the user %q is allowed:\n%s", user, text)
		} else if !strings.Contains(err.Error(), "lower-case letters") {
			t.Errorf("the user %q: the error doesn't say what to do: %v", user, err)
		}
	}
	for _, path := range []string{"", "ALL", "agent-start", "/", "/a//b", "/a/*", "/a b", "/a,/b", "/a\n/b", "/a;b", "/$HOME", `/a\ b`} {
		if text, err := (SudoRule{User: "llmhost", Launcher: path}).Text(); err == nil {
			t.Errorf("the program %q is allowed:\n%s", path, text)
		}
		if text, err := (Launcher{StateDir: path}).Text(); err == nil {
			t.Errorf("the state folder %q is allowed:\n%s", path, text)
		}
	}
}
