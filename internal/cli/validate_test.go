package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// projectWith makes a project folder with host files, by name, and changes into it.
func projectWith(t *testing.T, hosts map[string]string) string {
	t.Helper()
	t.Setenv(stackVariable, "")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"Pulumi.yaml": "name: test\nruntime: go\n"}
	for name, text := range hosts {
		files[filepath.Join("hosts", name+".hcl")] = text
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

// runVerb runs one command by itself and returns what it wrote and the exit code that its error stands for.
func runVerb(t *testing.T, cmd *cobra.Command, args ...string) (out string, code int, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.Execute()
	var exit *ExitError
	switch {
	case errors.As(err, &exit):
		code, err = exit.Code, exit.Err
	case err != nil:
		code = 1
	}
	return stdout.String(), code, err
}

const (
	goodHost = `host "good" {
  local {}

  engine "llama.cpp" {
    source = "engine.tar"
    sha256 = "0000000000000000000000000000000000000000000000000000000000000000" # placeholder
  }

  model "tiny" {
    source = "tiny.gguf"
    sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
  }

  model "spare" {
    source = "spare.gguf"
    sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
  }

  server "chat" {
    engine = "llama.cpp"
    model  = "tiny"
    memory = "1GiB"
  }
}
`
	badHost = `host "bad" {
  locl {}
  timezone = "Mars/Olympus"
}
`
)

func TestValidateAcceptsAProjectWithoutItsLocalFiles(t *testing.T) {
	projectWith(t, map[string]string{"good": goodHost})
	out, code, err := runVerb(t, newValidateCmd())
	if code != 0 || err != nil {
		t.Fatalf("exit code %d, %v", code, err)
	}
	if want := "hosts/good.hcl: valid: host good, server chat (tiny), model spare (no server)\n"; out != want {
		t.Errorf("got  %swant %s", out, want)
	}
}

func TestValidateReportsEveryFault(t *testing.T) {
	projectWith(t, map[string]string{"good": goodHost, "bad": badHost})
	out, code, err := runVerb(t, newValidateCmd())
	if code != 1 || err != nil {
		t.Errorf("exit code %d, %v; want 1 with nothing left to say", code, err)
	}
	want := `hosts/bad.hcl:2,3-7: unknown block "locl" in the host block
   2 |   locl {}
     |   ^^^^
  Did you mean "local"? The host block takes …
hosts/bad.hcl:3,14-28: timezone is "Mars/Olympus", which is an unknown time zone
   3 |   timezone = "Mars/Olympus"
     |              ^^^^^^^^^^^^^^
  Write a name of the IANA database, such as "America/Chicago" or "UTC".
hosts/good.hcl: valid: host good, server chat (tiny), model spare (no server)
1 of 2 host files are invalid
`
	out = regexp.MustCompile(`(The host block takes ).*`).ReplaceAllString(out, "$1…") // grows with what there is
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("the report (-want +got):\n%s", diff)
	}
	// A file that is named is the only one that counts.
	if _, code, err := runVerb(t, newValidateCmd(), "hosts/good.hcl"); code != 0 || err != nil {
		t.Errorf("the good one alone: exit code %d, %v", code, err)
	}
}

func TestValidateAsJSON(t *testing.T) {
	projectWith(t, map[string]string{"good": goodHost, "bad": badHost})
	out, code, err := runVerb(t, newValidateCmd(), "--json", "hosts/bad.hcl", "hosts/good.hcl", "hosts/god.hcl")
	if code != 1 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
	var got []validationJSON
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in: %s", err, out)
	}
	if len(got) != 3 || got[0].Valid || !got[1].Valid || got[2].Valid {
		t.Fatalf("files: %+v", got)
	}
	want := diagnosticJSON{
		Severity: "error", Summary: `timezone is "Mars/Olympus", which is an unknown time zone`,
		Detail: `Write a name of the IANA database, such as "America/Chicago" or "UTC".`,
		Line:   3, Column: 14, EndLine: 3, EndColumn: 28,
	}
	if diff := cmp.Diff(want, got[0].Diagnostics[1]); diff != "" {
		t.Errorf("the diagnostic (-want +got):\n%s", diff)
	}
	if d := got[2].Diagnostics[0]; d.Line != 0 || !strings.Contains(d.Detail, `"good.hcl"`) {
		t.Errorf("a file that isn't there: %+v", d)
	}
	if !strings.Contains(out, `"diagnostics": []`) {
		t.Error("no diagnostics are null and not an empty array")
	}
}

func TestValidateOutsideOfAProject(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, code, err := runVerb(t, newValidateCmd()); code != 1 || err == nil || !strings.Contains(err.Error(), "Pulumi.yaml") {
		t.Errorf("exit code %d, %v", code, err)
	}
	projectWith(t, nil)
	if err := os.Mkdir("hosts", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, code, err := runVerb(t, newValidateCmd()); code != 1 || err == nil || !strings.Contains(err.Error(), "no host files") {
		t.Errorf("without host files: exit code %d, %v", code, err)
	}
}
