package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const renderHost = `host "den" {
  local {}

  file "/etc/motd.d/10-llmhost" {
    content = "hello\n"
    mode    = "0644"
  }

  file "/etc/llmhost-private" {
    content = "private\n"
  }

  engine "llama.cpp" {
    source = "/nowhere/engine.tar.zst"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  model "m" {
    source = "/nowhere/m.gguf"
    sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
  }

  server "chat" {
    engine = "llama.cpp"
    model  = "m"
    memory = "1GiB"
  }
}
`

// renderProject makes a project with the host den and changes into it.
func renderProject(t *testing.T) {
	t.Helper()
	t.Setenv(stackVariable, "")
	root := t.TempDir()
	for name, text := range map[string]string{"Pulumi.yaml": "name: llmhost\nruntime: go\n", "hosts/den.hcl": renderHost} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(root)
}

func runRender(args ...string) (string, error) {
	cmd := newRenderCmd()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

func TestRenderWritesAndListsWhatADeploymentPlaces(t *testing.T) {
	renderProject(t)
	out, err := runRender("-s", "den", "-o", "out")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/etc/llmhost-private", "0600", "/etc/motd.d/10-llmhost", "6 B", "/etc/systemd/system/llmhost-chat.service", "root:root",
		"/etc/llmhost/models.d/m.json", "/etc/systemd/system/llmhost-check@chat.service", "/etc/systemd/system/llmhost-verify.timer", "7 files of den in out"} {
		if !strings.Contains(out, want) {
			t.Errorf("the list doesn't say %q:\n%s", want, out)
		}
	}
	unit, err := os.ReadFile("out/etc/systemd/system/llmhost-chat.service")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(unit), "\nUser=llm-chat\n") {
		t.Errorf("the unit isn't that of the server:\n%s", unit)
	}
	info, err := os.Stat("out/etc/llmhost-private")
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("a private file is rendered with the mode %v", info.Mode())
	}
}

func TestRenderAsJSON(t *testing.T) {
	renderProject(t)
	out, err := runRender("-o", "out", "--json") // the only host is meant
	if err != nil {
		t.Fatal(err)
	}
	var view renderView
	if err := json.Unmarshal([]byte(out), &view); err != nil {
		t.Fatalf("%v in:\n%s", err, out)
	}
	if view.Stack != "den" || len(view.Files) != 7 || view.Files[2] != (renderedFile{
		Path: "/etc/motd.d/10-llmhost", Mode: "0644", Owner: "root", Group: "root", Size: 6,
	}) {
		t.Errorf("got %+v", view)
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"a full folder": {[]string{"-s", "den", "-o", "hosts"}, "isn't empty"},
		"no folder":     {[]string{"-s", "den"}, "output"},
		"no such host":  {[]string{"-s", "attic", "-o", "out"}, "hosts/attic.hcl"},
	} {
		t.Run(name, func(t *testing.T) {
			renderProject(t)
			_, err := runRender(test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v and doesn't say %q", err, test.want)
			}
			if _, err := os.Stat("out"); err == nil {
				t.Error("a folder was made")
			}
		})
	}
}
