package systemd

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

func TestVerify(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Fatal("this test needs systemd-analyze, of the package systemd")
	}
	const good = "[Service]\nExecStart=/nowhere/llama-server\nRootDirectory=/nowhere\nNoNewPrivileges=yes\n"
	for name, test := range map[string]struct {
		content string
		dropIn  string
		want    string // in the error; empty: there is none
	}{
		"good, though its program isn't there yet": {good, "", ""},
		"good with a drop-in":                      {good, "[Service]\nMemoryMax=1G\n", ""},
		"a directive that would be ignored":        {good + "NoNewPriviliges=yes\n", "", "x.service:5"},
		"a value that would be ignored":            {good + "ProtectSystem=strickt\n", "", "x.service:5"},
		"a drop-in that would be ignored":          {good, "[Service]\nProtectHome=perhaps\n", "a.conf:2"},
		"no program":                               {"[Service]\nType=exec\n", "", "ExecStart"},
		"no unit file":                             {"hello\n", "", "x.service"},
	} {
		t.Run(name, func(t *testing.T) {
			work := t.TempDir()
			dropIns := map[string]string{}
			if test.dropIn != "" {
				dropIns["/etc/systemd/system/x.service.d/a.conf"] = test.dropIn
			}
			err := Verify(t.Context(), work, "x.service", test.content, dropIns)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (fault.ReasonOf(err) != agentpb.Reason_INVALID || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), work)):
				t.Errorf("got %v, want one that names %q", err, test.want)
			}
			if left, _ := os.ReadDir(work); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestVerifyOfEveryKind(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Fatal("this test needs systemd-analyze, of the package systemd")
	}
	for name, test := range map[string]struct {
		unit, content string
		want          string // in the error; empty: there is none
	}{
		"timer":                             {"x.timer", "[Timer]\nOnCalendar=daily\nUnit=later.service\n", ""},
		"timer at no time":                  {"x.timer", "[Timer]\nOnCalendar=sometimes\n", "x.timer:2"},
		"path":                              {"x.path", "[Path]\nPathChanged=/srv/models\nUnit=later.service\n", ""},
		"path that isn't absolute":          {"x.path", "[Path]\nPathChanged=models\n", "x.path:2"},
		"slice":                             {"x.slice", "[Slice]\nMemoryMax=1G\n", ""},
		"slice with a limit that isn't one": {"x.slice", "[Slice]\nMemoryMax=much\n", "x.slice:2"},
		"socket":                            {"x.socket", "[Socket]\nListenStream=/run/x.sock\nAccept=no\nService=systemd-journald.service\n", ""},
		"socket with an unknown directive":  {"x.socket", "[Socket]\nListenStream=/run/x.sock\nBacklogg=1\nService=systemd-journald.service\n", "x.socket:3"},
		// systemd would refuse to start it, so that it comes after its service.
		"socket before its service":      {"x.socket", "[Socket]\nListenStream=/run/x.sock\nService=later.service\n", "later.service"},
		"a service's section in a timer": {"x.timer", "[Timer]\nOnCalendar=daily\n[Service]\nUser=root\n", "x.timer:3"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Verify(t.Context(), t.TempDir(), test.unit, test.content, nil)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (fault.ReasonOf(err) != agentpb.Reason_INVALID || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want one that names %q", err, test.want)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	for text, want := range map[string]uint32{
		"systemd 257 (257.8-1~deb13u2)\n+PAM": 257, "systemd 252": 252,
		"systemd 258~rc1 (258~rc1-2)": 258, "": 0, "runit 2": 0,
	} {
		if got := parseVersion(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"llmhost-a.service": true, "llm@x.service": true, "x.timer": true, `a\x2db.slice`: true,
		"": false, ".service": false, "a": false, "a.mount": false, "a@.service": false, "../a.service": false, "a b.service": false, "a/b.service": false, ".a.service": false,
	} {
		if err := ValidName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	for file, ok := range map[string]bool{
		"/etc/systemd/system/x.service.d/a.conf": true, "/run/systemd/system/x.service.d/a.conf": true,
		"/etc/systemd/system/y.service.d/a.conf": false, "/etc/systemd/system/x.service.d/a": false, "/etc/passwd": false,
		"/etc/systemd/system/x.service.d/../x.service.d/a.conf": false, "/etc/systemd/system/x.service.d/.conf": false, "": false,
	} {
		if err := ValidDropIn("x.service", file); (err == nil) != ok {
			t.Errorf("%q: %v", file, err)
		}
	}
}
