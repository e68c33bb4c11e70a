package runtimes

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/components/sandbox"
	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/exposure"
	"github.com/llmhost/llmhost/internal/profile"
	"github.com/llmhost/llmhost/internal/testmodel"
	"github.com/llmhost/llmhost/test/vmtest"
)

// twoServers are a server on a socket and one on a port, with limits that a test can reach.
func twoServers() string {
	const limits = `
    memory  = "256MiB"
    limits {
      tasks = 48
      nproc = 48
    }`
	one := strings.Replace(vmtest.ModelServer("inside"), `memory  = "1GiB"`, strings.TrimSpace(limits), 1)
	server := one[strings.Index(one, `  server "inside"`):]
	peer := strings.NewReplacer(`"inside"`, `"peer"`, `model   = "tiny"`, "model   = \"tiny\"\n    listen  = \"127.0.0.1:8009\"").Replace(server)
	return one + "\n" + peer
}

// refused is what every sandbox of a server answers to what it is asked to let through.
var refused = map[string]string{
	"write-etc": "EROFS", "write-usr": "EROFS", "write-root": "EROFS", "write-models": "EROFS", "write-var": "EROFS",
	"write-sysctl": "ENOENT", "write-cgroup": "EACCES", "write-tmp": "done", "exec-tmp": "EACCES",
	"read-memory": "ENOENT", "read-kernel-log": "ENOENT", "read-disk": "ENOENT", "read-init": "ENOENT", "read-keys": "ENOENT", "read-shadow": "ENOENT",
	"read-other-model": "ENOENT", "read-agent-state": "ENOENT", "see-processes": "ESRCH",
	"socket-inet": "EAFNOSUPPORT", "socket-inet6": "EAFNOSUPPORT", "socket-netlink": "EAFNOSUPPORT", "socket-packet": "EAFNOSUPPORT", "socket-vsock": "EAFNOSUPPORT",
	"connect-0": "ENOENT", "listen-elsewhere": "EAFNOSUPPORT", "connect-out": "EAFNOSUPPORT",
	"load-module": "EPERM", "become-root": "EPERM", "user-namespace": "EPERM", "mount-namespace": "EPERM", "raise-capability": "EPERM", "mount": "EPERM",
	"ptrace": "EPERM", "set-clock": "EPERM", "set-hostname": "EPERM", "reboot": "EPERM", "swap-on": "EPERM", "load-bpf": "EPERM", "performance-events": "EPERM",
	"personality": "EPERM", "real-time": "EPERM", "make-set-user-id": "EPERM", "make-device": "EPERM",
	"write-and-run-memory": "EACCES", "run-written-memory": "EACCES", "raise-limit": "EPERM",
	"CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapBnd": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2", "end": "done",
}

// byAppArmor is what the server's profile refuses before anything else does.
var byAppArmor = map[string]string{"see-processes": "EACCES"}

func refusedBut(changes map[string]string) map[string]string {
	all := maps.Clone(refused)
	maps.Copy(all, changes)
	return all
}

// placeOnVM copies a file of this machine to the VM, executable by all.
func placeOnVM(t *testing.T, from, to string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	put := vmtest.VM.SSHCommand(ctx, "root", "cat > "+to+" && chmod 0755 "+to)
	put.Stdin = f
	if out, err := put.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", to, err, out)
	}
}

// putConfined puts the program that tries things onto the host.
func putConfined(t *testing.T) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "confined")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./confined")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	placeOnVM(t, program, confinedProgram)
	t.Cleanup(func() {
		vmtest.On(t, "rm -f "+confinedProgram+" /run/systemd/system/confined.service && systemctl daemon-reload")
	})
}

const (
	confinedProgram = "/usr/local/bin/confined"
	confinedInside  = "/run/confined"
)

// ended is how a unit of the program ended.
type ended struct {
	said           map[string]string
	result, reason string // systemd's Result= and ExecMainCode=: 1 exited, 2 killed, 3 dumped
}

// runConfined runs a unit on the host that is in no other way different from its text.
func runConfined(t *testing.T, text string) ended {
	t.Helper()
	file := filepath.Join(t.TempDir(), "confined.service")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	placeOnVM(t, file, "/run/systemd/system/confined.service")
	out := vmtest.On(t, `systemctl daemon-reload
after=$(journalctl -n 0 --show-cursor -q | sed 's/^-- cursor: //')
systemctl start confined.service >/dev/null 2>&1
journalctl --sync
journalctl -q -o cat -t confined --after-cursor "$after"
systemctl show -p Result -p ExecMainCode confined.service
systemctl reset-failed confined.service 2>/dev/null || true`)
	e := ended{said: map[string]string{}}
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch name, value, _ := strings.Cut(line, " "); {
		case strings.HasPrefix(line, "Result="):
			e.result = strings.TrimPrefix(line, "Result=")
		case strings.HasPrefix(line, "ExecMainCode="):
			e.reason = strings.TrimPrefix(line, "ExecMainCode=")
		default:
			e.said[name] = value
		}
	}
	return e
}

var inService = regexp.MustCompile(`(?m)^(ExecStartPre|ExecStop|Restart|ExecStart|Type|RuntimeDirectory|SyslogIdentifier|WantedBy|SocketBindAllow)=.*\n`)

// inTheSandboxOf is the deployed text of a unit with another program in the place of its own.
// Nothing else of it is changed but its name in the journal and its folder of sockets.
func inTheSandboxOf(t *testing.T, unit string, args ...string) string {
	t.Helper()
	text := vmtest.On(t, "cat /etc/systemd/system/"+unit)
	return inService.ReplaceAllStringFunc(text+"\n", func(line string) string {
		switch name, _, _ := strings.Cut(line, "="); name {
		case "ExecStart":
			return fmt.Sprintf("BindReadOnlyPaths=%s:%s\nExecStart=%[2]s %s\n", confinedProgram, confinedInside, strings.Join(args, " "))
		case "Type":
			return "Type=oneshot\n"
		case "RuntimeDirectory":
			return "RuntimeDirectory=llmhost/confined\n"
		case "SyslogIdentifier":
			return "SyslogIdentifier=confined\n"
		case "SocketBindAllow":
			return line
		}
		return ""
	})
}

// A server that is taken over is asked for everything that a sandbox forbids. The sandbox is the
// deployed one, and the servers answer while it happens and after.
func TestServersAreConfined(t *testing.T) {
	p := vmtest.NewProject(t)
	p.Host("confined", twoServers())
	p.Must("probe", "-s", "confined") // with its systemd known, /tmp can be private
	p.Up("confined")
	p.DestroyAtEnd("confined")
	putConfined(t)
	answers := func() {
		t.Helper()
		for _, server := range []string{"inside", "peer"} {
			if r := p.Must("ask", "-s", "confined", "--server", server, "Are you well?"); strings.TrimSpace(r.Stdout) != testmodel.DefaultReply {
				t.Errorf("%s answers %q", server, r.Stdout)
			}
		}
	}
	const inside, peer = "llmhost-inside.service", "llmhost-peer.service"

	t.Run("scores", func(t *testing.T) { scoresAreSystemds(t, p) })
	t.Run("attempts on a socket", func(t *testing.T) {
		e := runConfined(t, inTheSandboxOf(t, inside, "attempts", "/run/llmhost/inside/llm.sock"))
		if diff := cmp.Diff(refusedBut(byAppArmor), e.said); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("attempts on a port", func(t *testing.T) {
		e := runConfined(t, inTheSandboxOf(t, peer, "attempts", "/run/llmhost/inside/llm.sock"))
		want := refusedBut(map[string]string{"socket-inet": "done", "connect-0": "EAFNOSUPPORT", "listen-elsewhere": "EPERM", "connect-out": "unheard"})
		maps.Copy(want, byAppArmor)
		if diff := cmp.Diff(want, e.said); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("memory", func(t *testing.T) {
		if e := runConfined(t, inTheSandboxOf(t, inside, "memory", "400")); e.result != "oom-kill" || e.said["memory"] != "" {
			t.Errorf("400 MiB in a sandbox of 256: %+v", e)
		}
	})
	t.Run("forks", func(t *testing.T) {
		if e := runConfined(t, inTheSandboxOf(t, inside, "forks")); !strings.HasPrefix(e.said["forks"], "EAGAIN after ") {
			t.Errorf("forking without end: %+v", e)
		}
	})
	t.Run("core dump", func(t *testing.T) {
		if e := runConfined(t, inTheSandboxOf(t, inside, "abort")); e.reason != "2" {
			t.Errorf("a program that aborts isn't killed without a dump: %s %s", e.result, e.reason)
		}
	})
	answers()
	t.Run("peers", func(t *testing.T) {
		ask := func(who string) error {
			_, err := vmtest.TryOn("setpriv " + who + " curl -sf --max-time 20 --unix-socket /run/llmhost/inside/llm.sock http://x/health")
			return err
		}
		for _, who := range []string{"--reuid=llm-peer --regid=llm-peer --init-groups", "--reuid=plain --regid=plain --init-groups"} {
			if ask(who) == nil {
				t.Errorf("the socket is open to %s", who)
			}
		}
		if err := ask("--reuid=plain --regid=plain --groups=llm-inside"); err != nil {
			t.Errorf("a member of the group can't open the socket: %v", err)
		}
	})
	t.Run("the process itself", func(t *testing.T) {
		out := vmtest.On(t, "p=$(systemctl show -p MainPID --value "+inside+`); grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd):' /proc/$p/status | tr -s '\t' ' '
awk '/Max core|Max open|Max processes/ {print $0}' /proc/$p/limits | tr -s ' '`)
		for _, want := range []string{"Seccomp: 2", "NoNewPrivs: 1", "CapEff: 0000000000000000", "CapBnd: 0000000000000000", "Max core file size 0 0", "Max open files 4096 4096", "Max processes 48 48"} {
			if !strings.Contains(out, want) {
				t.Errorf("the server's process isn't %q:\n%s", want, out)
			}
		}
		t.Logf("system calls allowed: %s", vmtest.On(t, "systemctl show -p SystemCallFilter --value "+inside+" | wc -w"))
	})
	t.Run("a looser unit shows", func(t *testing.T) {
		file := filepath.Join(p.Dir, "hosts", "confined.hcl")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Write("hosts/confined.hcl", string(text))
		p.Write("hosts/confined.hcl", strings.Replace(string(text), "    limits {", "    relax \"PrivateIPC\" {\n      value  = \"no\"\n      reason = \"it is only a test\"\n    }\n    relax \"NoNewPrivileges\" {\n      value  = \"no\"\n      reason = \"nobody should\"\n    }\n    limits {", 1))
		r := p.Must("preview", "-s", "confined", "--diff", "--non-interactive")
		for _, want := range []string{"exposure", "NoNewPrivileges=no because nobody should", "PrivateIPC=no because it is only a test"} {
			if !strings.Contains(r.Stdout, want) {
				t.Errorf("the preview doesn't say %q:\n%s", want, r.Stdout)
			}
		}
	})
	t.Run("requests end before a stop", func(t *testing.T) {
		out := vmtest.On(t, `S=/run/llmhost/inside/llm.sock
curl -sN --unix-socket $S http://x/completion -d '{"prompt":"a","n_predict":300,"stream":true,"ignore_eos":true}' > /tmp/stream & c=$!
until [ -s /tmp/stream ]; do sleep 0.1; done
systemctl stop `+inside+`; wait $c; echo "curl $?"; tail -c 2000 /tmp/stream; rm /tmp/stream
systemctl is-failed `+inside+`; systemctl start `+inside)
		if !strings.Contains(out, "curl 0") || !strings.Contains(out, `"stop":true`) || strings.Contains(out, "failed") {
			t.Errorf("a request was cut off by a stop:\n%s", out)
		}
	})
	answers()
}

// scoresAreSystemds compares what is said without a host with what the host's systemd says.
func scoresAreSystemds(t *testing.T, p *vmtest.Project) {
	var hardened struct {
		Services []struct {
			Unit     string  `json:"unit"`
			Exposure float64 `json:"exposure"`
		} `json:"services"`
	}
	if err := json.Unmarshal([]byte(p.Must("harden", "-s", "confined", "--json").Stdout), &hardened); err != nil || len(hardened.Services) != 5 {
		t.Fatalf("%v: %d services", err, len(hardened.Services))
	}
	for _, s := range hardened.Services {
		said := vmtest.On(t, "systemd-analyze security --no-pager "+s.Unit+" | tail -n 1")
		if !strings.Contains(said, fmt.Sprintf("%s: %.1f ", s.Unit, s.Exposure)) {
			t.Errorf("harden scores %s with %.1f, and systemd says %s", s.Unit, s.Exposure, said)
		}
		t.Logf("%s %.1f", s.Unit, s.Exposure)
	}
}

// The profiles that no server has yet confine, too.
func TestProfilesConfine(t *testing.T) {
	putConfined(t)
	vmtest.On(t, "useradd --system confined")
	t.Cleanup(func() { vmtest.On(t, "userdel confined") })
	// They have the host's root, of which they see what everybody does, and a network.
	open := map[string]string{
		"write-models": "ENOENT", "read-shadow": "EACCES", "connect-0": "EACCES",
		"socket-inet": "done", "socket-inet6": "done", "listen-elsewhere": "done", "connect-out": "unheard",
	}
	of := func(more map[string]string) map[string]string {
		all := maps.Clone(open)
		maps.Copy(all, more)
		return all
	}
	for name, test := range map[string]struct {
		user    systemd.Keyword
		changes map[string]string
	}{
		"gateway": {"confined", open},
		"monitor": {"confined", of(map[string]string{"read-keys": "done", "write-sysctl": "EACCES"})}, // it reads /proc
		// It is root, sees root's processes, and may read what it likes.
		"batch": {"", map[string]string{
			"write-models": "ENOENT", "write-cgroup": "EROFS", "read-shadow": "done", "read-init": "EACCES", "see-processes": "done", "connect-0": "EAFNOSUPPORT",
			"CapPrm": "0000000000000004", "CapEff": "0000000000000004", "CapBnd": "0000000000000004",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			u := systemd.Unit{}
			if err := sandbox.Apply(&u, profile.Get(name), nil); err != nil {
				t.Fatal(err)
			}
			u.Service.Type, u.Service.Restart, u.Service.User, u.Service.SyslogIdentifier = "oneshot", "", test.user, "confined"
			u.Service.ExecStart = systemd.Command{confinedProgram, "attempts", "/run/systemd/private"}
			text, err := u.Text()
			if err != nil {
				t.Fatal(err)
			}
			e := runConfined(t, text)
			if diff := cmp.Diff(refusedBut(test.changes), e.said); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			report, err := exposure.Of(text)
			if err != nil {
				t.Fatal(err)
			}
			said := vmtest.On(t, "systemd-analyze security --no-pager confined.service | tail -n 1")
			if !strings.Contains(said, ": "+report.Score.String()+" ") {
				t.Errorf("the profile %s scores %s here, and systemd says %s", name, report.Score, said)
			}
			t.Logf("%s %s", name, report.Score)
		})
	}
}
