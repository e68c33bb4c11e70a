package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/testmodel"
	"github.com/llmhost/llmhost/test/vmtest"
)

// blob writes a model of noise, to be pushed and used by no server.
func blob(t *testing.T, size int64) (path, digest string) {
	t.Helper()
	return noise(t, testmodel.Noise{Bytes: size, Seed: mathrand.Uint64()})
}

func noise(t *testing.T, n testmodel.Noise) (path, digest string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "blob.gguf")
	digest, _, err := n.WriteFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, digest
}

func modelBlock(name, source, digest string) string {
	return fmt.Sprintf("\n  model %q {\n    source = %q\n    sha256 = %q\n  }", name, source, digest)
}

// background is an llmhost that runs while the test does something else.
type background struct {
	cmd  *exec.Cmd
	out  bytes.Buffer // stdout and stderr; read it after ended
	done chan struct{}
	err  error
}

// start runs llmhost in the background, in a process group of its own.
func (p *project) start(args ...string) *background {
	p.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), vmtest.CommandLimit)
	b := &background{cmd: p.Command(ctx, args...), done: make(chan struct{})}
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	b.cmd.Stdout, b.cmd.Stderr = &b.out, &b.out
	if err := b.cmd.Start(); err != nil {
		cancel()
		p.T.Fatal(err)
	}
	go func() { b.err = b.cmd.Wait(); cancel(); close(b.done) }()
	return b
}

// ended waits for the end and returns how it ended.
func (b *background) ended() error { <-b.done; return b.err }

// kill ends it at once, as a power cut would.
func (b *background) kill() { _ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) }

// resources lists the resources in a stack's state, by name.
func (p *project) resources(stack string) map[string]json.RawMessage {
	p.T.Helper()
	r := p.Must("stack", "export", "-s", stack)
	var d struct {
		Deployment struct {
			Resources []json.RawMessage `json:"resources"`
			Pending   []json.RawMessage `json:"pending_operations"`
		} `json:"deployment"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &d); err != nil {
		p.T.Fatalf("stack export: %v\n%s", err, r.All())
	}
	byURN := map[string]json.RawMessage{}
	for _, raw := range d.Deployment.Resources {
		var res struct{ URN string }
		_ = json.Unmarshal(raw, &res)
		if byURN[res.URN] != nil {
			p.T.Errorf("%s is in the state twice", res.URN)
		}
		byURN[res.URN] = raw
	}
	if n := len(d.Deployment.Pending); n > 0 {
		p.T.Errorf("%d operations are still pending in the state: %s", n, d.Deployment.Pending)
	}
	return byURN
}

// The link breaks in the middle of an up: what was done is in the state, and the next up finishes.
func TestConnectionCutInTheMiddle(t *testing.T) {
	p := newProject(t)
	source, digest := blob(t, 12<<20)
	link := startProxy(t, vmtest.VM.Port)
	p.Write("hosts/cut.hcl", "")
	p.hostByKey("cut", link.Port(), `
  file "/etc/llmhost-cut.conf" {
    content = "first\n"
  }`)
	p.Up("cut")
	p.DestroyAtEnd("cut")
	p.hostByKey("cut", link.Port(), `
  file "/etc/llmhost-cut.conf" {
    content = "second\n"
  }`+modelBlock("blob", source, digest))

	link.CutAfter(6 << 20)
	r := p.Run("up", "-s", "cut", "--yes", "--skip-preview", "--non-interactive")
	if r.Code == 0 || !link.WasCut() {
		t.Fatalf("the link was cut (%v) and up ended with %d:\n%s", link.WasCut(), r.Code, r.All())
	}
	if strings.Contains(r.All(), "rpc error") || strings.Contains(r.All(), "goroutine ") {
		t.Errorf("the error is a library's raw text:\n%s", r.All())
	}
	vmtest.Absent(t, "/srv/models/blob.gguf")

	link.Mend()
	p.Up("cut")
	if got := vmtest.On(t, "sha256sum /srv/models/blob.gguf | cut -c1-64"); got != digest {
		t.Errorf("the model on the host has digest %s, want %s", got, digest)
	}
	if n := vmtest.On(t, "ls -A /srv/models | wc -l"); n != "1" {
		t.Errorf("half-written files were left: %s", vmtest.On(t, "ls -A /srv/models"))
	}
	p.NoDrift("cut")
	p.resources("cut")
}

// hostByKey pins the VM's key in the host file, so that any port of a proxy is the same host.
func (p *project) hostByKey(name string, port int, blocks string) {
	p.Write("hosts/"+name+".hcl", fmt.Sprintf(`host %q {
  ssh {
    address  = "127.0.0.1"
    port     = %d
    user     = "ops"
    identity = %q
    host_key = %q
  }
%s
}
`, name, port, vmtest.VM.IdentityFile, vmtest.VM.HostKey, blocks))
}

// kill -9 in the middle of a create: the very next up heals by itself, whatever was being made.
func TestKilledUpHeals(t *testing.T) {
	p := newProject(t)
	blocks := vmtest.ModelServer("gamma") + `
  directory "/srv/kill" {
    mode = "0750"
  }
  file "/srv/kill/file" {
    content = "killed\n"
  }`
	p.Host("kill", blocks)
	// One complete run tells which resources there are, and that they work.
	p.Up("kill", "--parallel", "1")
	p.DestroyAtEnd("kill")
	all := p.resources("kill")
	p.Must("destroy", "-s", "kill", "--yes", "--skip-preview", "--non-interactive")

	var points []string
	for urn := range all {
		if strings.Contains(urn, "llmhost:index:") {
			points = append(points, urn)
		}
	}
	if !vmtest.Long() {
		seed := uint64(time.Now().UnixNano())
		t.Logf("a sample of the %d kill points, seed %d; LLMHOST_TEST_LONG=1 runs all", len(points), seed)
		mathrand.New(mathrand.NewPCG(seed, 0)).Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
		points = points[:3]
	}
	for _, urn := range points {
		t.Run(urn[strings.LastIndex(urn, "::")+2:], func(t *testing.T) {
			p.T = t
			up := p.start("up", "-s", "kill", "--yes", "--skip-preview", "--non-interactive", "--parallel", "1")
			if !p.killWhilePending("kill", urn, up) {
				t.Logf("%s was made before it could be interrupted; killed right after", urn)
			}
			_ = up.ended()
			t.Logf("killed; it had printed:\n%s", tail(up.out.String(), 6))

			p.Up("kill")
			if got := p.resources("kill"); len(got) != len(all) {
				t.Errorf("the state has %d resources, want %d", len(got), len(all))
			}
			p.NoDrift("kill")
			p.Must("ask", "-s", "kill", "Still there?")
			p.Must("destroy", "-s", "kill", "--yes", "--skip-preview", "--non-interactive")
			vmtest.Absent(t, "/srv/kill")
			vmtest.Absent(t, "/etc/systemd/system/llmhost-gamma.service")
		})
	}
	p.T = t
}

// A destroy right after a kill leaves no orphan.
func TestKilledUpThenDestroyLeavesNothing(t *testing.T) {
	p := newProject(t)
	source, digest := blob(t, 24<<20)
	p.Host("orphan", `
  file "/etc/llmhost-orphan.conf" {
    content = "x\n"
  }`+modelBlock("orphan", source, digest))
	before := vmtest.On(t, vmtest.Footprint)
	up := p.start("up", "-s", "orphan", "--yes", "--skip-preview", "--non-interactive", "--parallel", "1")
	p.killWhilePending("orphan", "llmhost:index:Model::", up)
	_ = up.ended()
	p.Must("destroy", "-s", "orphan", "--yes", "--skip-preview", "--non-interactive")
	vmtest.Settled(t, before)
}

// killWhilePending kills the process group once the state names the URN as being created.
// It returns false if the URN was already past that when it was seen.
func (p *project) killWhilePending(stack, urn string, b *background) bool {
	file := filepath.Join(p.Dir, ".llmhost", "state", ".pulumi", "stacks", "llmhost", stack+".json")
	for {
		select {
		case <-b.done:
			return false
		default:
		}
		state, _ := os.ReadFile(file)
		if at := bytes.Index(state, []byte(`"pending_operations"`)); at >= 0 && bytes.Contains(state[at:], []byte(urn)) {
			b.kill()
			return true
		}
		if at := bytes.Index(state, []byte(`"resources"`)); at >= 0 && bytes.Contains(state[at:], []byte(urn)) {
			b.kill()
			return false
		}
		time.Sleep(time.Millisecond)
	}
}

func tail(s string, lines int) string {
	l := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(l[max(0, len(l)-lines):], "\n")
}

// The same machine at another address: the provider is updated and nothing on the host is touched.
func TestMovedAddressReplacesNothing(t *testing.T) {
	p := newProject(t)
	block := `
  file "/etc/llmhost-moved.conf" {
    content = "stay\n"
  }`
	link := startProxy(t, vmtest.VM.Port) // before destroyAtEnd, which still needs it
	p.hostByKey("moved", vmtest.VM.Port, block)
	p.Up("moved")
	p.DestroyAtEnd("moved")
	inode := vmtest.On(t, "stat -c '%i %y' /etc/llmhost-moved.conf")

	p.hostByKey("moved", link.Port(), block)
	r := p.Up("moved")
	if strings.Contains(r.Stdout, "replaced") || strings.Contains(r.Stdout, "created") || strings.Contains(r.Stdout, "deleted") {
		t.Errorf("a new address touched resources:\n%s", r.Stdout)
	}
	if got := vmtest.On(t, "stat -c '%i %y' /etc/llmhost-moved.conf"); got != inode {
		t.Errorf("the file was written again: %s, was %s", got, inode)
	}
	p.NoDrift("moved")
}

// A file that the user had there before is neither overwritten nor, later, deleted.
func TestForeignFileIsRefused(t *testing.T) {
	p := newProject(t)
	vmtest.On(t, "printf 'mine\\n' > /etc/llmhost-foreign.conf")
	t.Cleanup(func() { vmtest.On(t, "rm -f /etc/llmhost-foreign.conf") })
	block := func(adopt bool) string {
		return fmt.Sprintf(`
  file "/etc/llmhost-foreign.conf" {
    content = "theirs\n"
    adopt   = %v
  }`, adopt)
	}
	p.Host("foreign", block(false))
	r := p.Run("up", "-s", "foreign", "--yes", "--skip-preview", "--non-interactive")
	p.DestroyAtEnd("foreign")
	if r.Code == 0 || !strings.Contains(r.All(), "/etc/llmhost-foreign.conf") || !strings.Contains(r.All(), "adopt") {
		t.Errorf("up over a foreign file ended with %d and does not say what to do:\n%s", r.Code, r.All())
	}
	if got := vmtest.On(t, "cat /etc/llmhost-foreign.conf"); got != "mine" {
		t.Fatalf("the foreign file was overwritten with %q", got)
	}
	p.Host("foreign", block(true))
	p.Up("foreign")
	if got := vmtest.On(t, "cat /etc/llmhost-foreign.conf"); got != "theirs" {
		t.Errorf("the adopted file has %q", got)
	}
	p.Host("foreign", "")
	p.Up("foreign")
	if got := vmtest.On(t, "cat /etc/llmhost-foreign.conf"); got != "theirs" {
		t.Errorf("an adopted file was deleted when its block was removed")
	}
}

// Two stacks on one host live beside each other, and neither takes what is the other's.
func TestTwoStacksOnOneHost(t *testing.T) {
	p := newProject(t)
	one := `
  file "/etc/llmhost-one.conf" {
    content = "one\n"
  }`
	p.Host("one", one)
	p.Up("one")
	p.DestroyAtEnd("one")
	p.Host("two", `
  file "/etc/llmhost-two.conf" {
    content = "two\n"
  }`)
	p.Up("two")
	p.DestroyAtEnd("two")

	p.Host("two", strings.ReplaceAll(one, `"one\n"`, `"stolen\n"`))
	r := p.Run("up", "-s", "two", "--yes", "--skip-preview", "--non-interactive")
	if r.Code == 0 || !strings.Contains(r.All(), "llmhost/one") {
		t.Errorf("taking another stack's file ended with %d and does not name its owner:\n%s", r.Code, r.All())
	}
	if got := vmtest.On(t, "cat /etc/llmhost-one.conf"); got != "one" {
		t.Errorf("stack two overwrote stack one's file with %q", got)
	}
	p.NoDrift("one")
}

// The agent dies on the host while a model is on its way: the run goes on with another one.
func TestAgentKilledOnTheHost(t *testing.T) {
	p := newProject(t)
	source, digest := blob(t, 24<<20)
	p.Host("agent", modelBlock("agent", source, digest))
	up := p.start("up", "-s", "agent", "--yes", "--skip-preview", "--non-interactive")
	p.DestroyAtEnd("agent")
	vmtest.On(t, `for i in $(seq 600); do ls -A /srv/models 2>/dev/null | grep -q . && break; sleep 0.1; done; pkill -9 llmhost-agent`)
	if err := up.ended(); err != nil {
		t.Errorf("up, whose agent was killed: %v\n%s", err, up.out.String())
	}
	onHost(t, "/srv/models/agent.gguf", digest)
	p.NoDrift("agent")
	p.resources("agent")
}

// A full disk: its own error, nothing half-written, and the next up works once there is room.
func TestDiskFull(t *testing.T) {
	p := newProject(t)
	source, digest := blob(t, 8<<20)
	vmtest.On(t, "mkdir -p /mnt/small && mount -t tmpfs -o size=2m tmpfs /mnt/small")
	t.Cleanup(func() { vmtest.On(t, "umount /mnt/small && rmdir /mnt/small") })
	p.Host("full", "\n  models {\n    path = \"/mnt/small/models\"\n  }"+modelBlock("big", source, digest))
	r := p.Run("up", "-s", "full", "--yes", "--skip-preview", "--non-interactive")
	p.DestroyAtEnd("full")
	if r.Code == 0 || !regexp.MustCompile(`(?i)no space|disk.*full|not enough space`).MatchString(r.All()) {
		t.Errorf("a full disk ended with %d and is not named:\n%s", r.Code, r.All())
	}
	if left := vmtest.On(t, "find /mnt/small -type f"); left != "" {
		t.Errorf("left on the full disk: %s", left)
	}
	vmtest.On(t, "mount -o remount,size=64m /mnt/small")
	p.Up("full")
	if got := vmtest.On(t, "sha256sum /mnt/small/models/big.gguf | cut -c1-64"); got != digest {
		t.Errorf("the model on the host has digest %s, want %s", got, digest)
	}
}

// Another host key than the pinned one: both fingerprints are shown and nothing is done.
func TestWrongHostKey(t *testing.T) {
	p := newProject(t)
	keyfile := filepath.Join(t.TempDir(), "other")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keyfile).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	pub, err := os.ReadFile(keyfile + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Join(strings.Fields(string(pub))[:2], " ")
	p.hostByKey("key", vmtest.VM.Port, `
  file "/etc/llmhost-key.conf" {
    content = "x\n"
  }`)
	p.Write("hosts/key.hcl", strings.Replace(p.hostfile("key"), vmtest.VM.HostKey, other, 1))
	r := p.Run("up", "-s", "key", "--yes", "--skip-preview", "--non-interactive")
	if r.Code == 0 {
		t.Fatalf("up to a host with another key succeeded:\n%s", r.All())
	}
	for _, key := range []string{other, vmtest.VM.HostKey} {
		if print := fingerprint(t, key); !strings.Contains(r.All(), print) {
			t.Errorf("the error does not show the fingerprint %s:\n%s", print, r.All())
		}
	}
	vmtest.Absent(t, "/etc/llmhost-key.conf")
}

func fingerprint(t *testing.T, key string) string {
	t.Helper()
	cmd := exec.Command("ssh-keygen", "-lf", "-")
	cmd.Stdin = strings.NewReader(key + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ssh-keygen -lf: %v", err)
	}
	return strings.Fields(string(out))[1]
}

// Two deployments at once: the second is refused and told who is at work.
func TestTwoUpsAtOnce(t *testing.T) {
	p := newProject(t)
	source, digest := blob(t, 16<<20)
	link := startProxy(t, vmtest.VM.Port)
	p.hostByKey("busy", link.Port(), modelBlock("busy", source, digest))
	p.Host("late", `
  file "/etc/llmhost-late.conf" {
    content = "late\n"
  }`)
	link.Throttle(200 << 10)
	up := p.start("up", "-s", "busy", "--yes", "--skip-preview", "--non-interactive")
	vmtest.On(t, `for i in $(seq 1200); do ls -A /srv/models 2>/dev/null | grep -q . && exit 0; sleep 0.1; done; exit 1`)

	holder := fmt.Sprintf("pid %d", up.cmd.Process.Pid)
	for _, stack := range []string{"busy", "late"} {
		r := p.Run("up", "-s", stack, "--yes", "--skip-preview", "--non-interactive")
		if r.Code == 0 || !strings.Contains(r.All(), holder) {
			t.Errorf("an up of %s while busy is at work ended with %d and does not name the holder (%s):\n%s", stack, r.Code, holder, r.All())
		}
	}
	vmtest.Absent(t, "/etc/llmhost-late.conf")
	link.Mend()
	if err := up.ended(); err != nil {
		t.Errorf("the first up: %v\n%s", err, up.out.String())
	}
	p.DestroyAtEnd("busy")
	p.Up("late")
	p.DestroyAtEnd("late")
}

// Ctrl-C leaves a consistent state and no lock.
func TestInterruptedUp(t *testing.T) {
	p := newProject(t)
	source, digest := blob(t, 16<<20)
	link := startProxy(t, vmtest.VM.Port)
	p.hostByKey("stop", link.Port(), modelBlock("stop", source, digest))
	link.Throttle(200 << 10)
	up := p.start("up", "-s", "stop", "--yes", "--skip-preview", "--non-interactive")
	p.DestroyAtEnd("stop")
	vmtest.On(t, `for i in $(seq 1200); do ls -A /srv/models 2>/dev/null | grep -q . && exit 0; sleep 0.1; done; exit 1`)
	_ = up.cmd.Process.Signal(syscall.SIGINT)
	if err := up.ended(); err == nil {
		t.Errorf("an interrupted up ended with 0:\n%s", up.out.String())
	}
	vmtest.Absent(t, "/srv/models/stop.gguf")
	locks, _ := filepath.Glob(filepath.Join(p.Dir, ".llmhost/state/.pulumi/locks/*/*/*/*.json"))
	if len(locks) > 0 {
		t.Errorf("a lock was left: %v", locks)
	}
	link.Mend()
	p.Up("stop")
	p.NoDrift("stop")
	p.resources("stop")
}
