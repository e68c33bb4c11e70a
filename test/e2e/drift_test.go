package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/testmodel"
	"github.com/llmhost/llmhost/test/vmtest"
)

// tampering is what somebody does by hand, and how the report must name it.
type tampering struct {
	what     string
	line     string // run on the host as root
	kind     string // resource type's last part
	id       string
	property string // empty: the resource is missing
}

// Everything that can be changed by hand is reported under its property, and repaired.
func TestEveryTamperingIsReportedAndRepaired(t *testing.T) {
	p := newProject(t)
	p.Host("tamper", vmtest.ModelServer("beta")+`
  directory "/srv/notes" {
    mode = "0750"
  }
  file "/srv/notes/readme" {
    content = "hello\n"
    mode    = "0640"
  }
  file "/srv/notes/second" {
    content = "second\n"
  }
  file "/etc/llmhost-e2e.conf" {
    content = "a = 1\nb = 2\n"
  }`)
	p.Up("tamper")
	p.DestroyAtEnd("tamper")
	p.NoDrift("tamper")

	engine := vmtest.On(t, "ls -d /opt/llmhost/engines/*/")
	engine = strings.TrimSuffix(engine, "/")
	const unit, program = "llmhost-beta.service", "/usr/local/lib/llmhost/llmhost-agent"

	rounds := map[string][]tampering{
		"changed": {
			{"a file's content", "echo 'c = 3' >> /etc/llmhost-e2e.conf", "File", "/etc/llmhost-e2e.conf", "content"},
			{"a file's mode", "chmod 0666 /srv/notes/readme", "File", "/srv/notes/readme", "mode"},
			{"a file's owner", "chown ops /srv/notes/readme", "File", "/srv/notes/readme", "owner"},
			{"a file's group", "chgrp ops /srv/notes/readme", "File", "/srv/notes/readme", "group"},
			{"a directory's mode", "chmod 0777 /srv/notes", "Directory", "/srv/notes", "mode"},
			{"a directory's owner", "chown ops /srv/notes", "Directory", "/srv/notes", "owner"},
			{"a user's shell", "usermod -s /bin/bash llm-beta", "SystemUser", "llm-beta", "shell"},
			{"a user's groups", "usermod -a -G sudo llm-beta", "SystemUser", "llm-beta", "groups"},
			{"a unit's text", "sed -i 's/^NoNewPrivileges=.*/NoNewPrivileges=no/' /etc/systemd/system/" + unit, "SystemdUnit", unit, "content"},
			{"a drop-in", "mkdir -p /etc/systemd/system/" + unit + ".d && printf '[Service]\\nProtectHome=no\\n' > /etc/systemd/system/" + unit + ".d/loose.conf && systemctl daemon-reload", "SystemdUnit", unit, "dropIns"},
			{"a property at run time", "systemctl set-property --runtime " + unit + " MemoryMax=64G", "SystemdUnit", unit, "runtimeProperties"},
			{"a disabled unit", "systemctl disable -q " + unit, "SystemdUnit", unit, "enabled"},
			{"a stopped unit", "systemctl stop " + unit, "SystemdUnit", unit, "state"},
			{"one byte of a model", "printf X | dd of=/srv/models/tiny.gguf bs=1 seek=4096 conv=notrunc status=none", "Model", "/srv/models/tiny.gguf", "sha256"},
			{"a model's mode", "chmod 0644 /srv/models/tiny.gguf", "Model", "/srv/models/tiny.gguf", "mode"},
			{"a model's record", "sed -i s/sha256/sha512/ /etc/llmhost/models.d/tiny.json", "File", "/etc/llmhost/models.d/tiny.json", "content"},
			{"the program that checks models", "echo >> " + program, "Program", program, "current"},
			{"a stopped timer", "systemctl stop llmhost-verify.timer", "SystemdUnit", "llmhost-verify.timer", "state"},
			{"a file of the engine", "echo >> " + engine + "/usr/bin/llama-server", "Engine", engine, "modifiedFiles"},
		},
		"masked": {
			{"a masked unit", "systemctl stop " + unit + "; mv /etc/systemd/system/" + unit + " /root/kept; systemctl mask -q " + unit, "SystemdUnit", unit, "masked"},
		},
		"removed": {
			{"a file", "rm /srv/notes/readme", "File", "/srv/notes/readme", ""},
			{"a directory", "rm -r /srv/notes", "Directory", "/srv/notes", ""},
			{"a unit", "systemctl stop " + unit + " && rm -f /etc/systemd/system/" + unit + " && systemctl daemon-reload", "SystemdUnit", unit, ""},
			{"a user", "userdel llm-beta", "SystemUser", "llm-beta", ""},
			{"a model", "rm /srv/models/tiny.gguf", "Model", "/srv/models/tiny.gguf", ""},
			{"a model's record", "rm /etc/llmhost/models.d/tiny.json", "File", "/etc/llmhost/models.d/tiny.json", ""},
			{"the program that checks models", "rm " + program, "Program", program, ""},
			{"an engine", "rm -r " + engine, "Engine", engine, ""},
		},
	}
	for _, round := range []string{"changed", "masked", "removed"} {
		t.Run(round, func(t *testing.T) {
			p.T = t
			for _, c := range rounds[round] {
				vmtest.On(t, c.line)
			}
			found := p.Drift("tamper")
			for _, c := range rounds[round] {
				if !reported(found, c) {
					t.Errorf("%s (%s) is not reported as %s %s %s", c.what, c.line, c.kind, c.id, c.property)
				}
			}
			if t.Failed() {
				for _, f := range found {
					t.Logf("reported: %+v", f)
				}
			}
			p.Up("tamper", "--refresh")
			p.NoDrift("tamper")
			answer := p.Must("ask", "-s", "tamper", "Are you well?")
			if got := strings.TrimSpace(answer.Stdout); got != testmodel.DefaultReply {
				t.Errorf("after the repair the model answers %q", got)
			}
		})
	}
	p.T = t
}

func reported(found []vmtest.Finding, c tampering) bool {
	for _, f := range found {
		if !strings.HasSuffix(f.Type, ":"+c.kind) || f.ID != c.id {
			continue
		}
		if c.property == "" && f.Kind == "missing" {
			return true
		}
		// A path into a property ("dropIns[…]") is the property's too.
		if c.property != "" && strings.HasPrefix(f.Property, c.property) && fmt.Sprint(f.Want) != fmt.Sprint(f.Have) {
			return true
		}
	}
	return false
}

// A host that can't be reached is an error and never drift.
func TestUnreachableHostIsAnError(t *testing.T) {
	p := newProject(t)
	p.Host("gone", `
  file "/etc/llmhost-gone.conf" {
    content = "x\n"
  }`)
	p.Up("gone")
	p.DestroyAtEnd("gone")

	cut := startProxy(t, vmtest.VM.Port)
	cut.Close()
	reachable := p.hostfile("gone")
	p.Write("hosts/gone.hcl", strings.Replace(reachable, fmt.Sprintf("= %d", vmtest.VM.Port), fmt.Sprintf("= %d", cut.Port()), 1))
	r := p.Run("drift", "-s", "gone", "--json")
	if r.Code != 1 {
		t.Errorf("drift on an unreachable host ended with %d, want 1:\n%s", r.Code, r.All())
	}
	if r := p.Run("up", "-s", "gone", "--yes", "--skip-preview", "--refresh", "--non-interactive"); r.Code == 0 {
		t.Errorf("up --refresh on an unreachable host succeeded:\n%s", r.All())
	}
	p.Write("hosts/gone.hcl", reachable)
	// The host is where it was: nothing was forgotten, so nothing is made again.
	if r := p.Up("gone"); strings.Contains(r.Stdout, "created") || strings.Contains(r.Stdout, "deleted") {
		t.Errorf("an unreachable host was taken for an empty one:\n%s", r.Stdout)
	}
	p.NoDrift("gone")
}
