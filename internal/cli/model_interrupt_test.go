package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/remote/agentbin"
	"github.com/llmhost/llmhost/internal/testmodel"
)

const mib = 1 << 20

// slowPush is a push that is long enough to be disturbed.
type slowPush struct {
	t      *testing.T
	host   *testModelHost
	source string
	target string
	sha256 string
	size   int64
}

func newSlowPush(t *testing.T, h *testModelHost, name string) *slowPush {
	t.Helper()
	p := &slowPush{t: t, host: h, source: filepath.Join(t.TempDir(), name), target: filepath.Join(h.dir, name)}
	var err error
	if p.sha256, p.size, err = (testmodel.Noise{Bytes: 512 * mib, Seed: 7}).WriteFile(p.source); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(p.target) }) // it is in memory
	return p
}

type run struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
}

func (p *slowPush) start() *run {
	p.t.Helper()
	r := &run{Cmd: exec.Command("llmhost", "model", "push", p.source, p.host.address(p.host.dir), "--json",
		"--identity", p.host.sshd.IdentityFile, "--known-hosts", p.host.sshd.KnownHostsFile)}
	r.Env = append(os.Environ(), agentbin.DirVariable+"="+p.host.agents, "XDG_CACHE_HOME="+p.t.TempDir())
	r.Stdout, r.Stderr = &r.stdout, &r.stderr
	if err := r.Start(); err != nil {
		p.t.Fatal(err)
	}
	return r
}

// ends waits for the end and returns the exit code.
func (r *run) ends() int {
	_ = r.Wait() // the code says it
	return r.ProcessState.ExitCode()
}

// halfWay waits until some of the bytes have arrived.
func (p *slowPush) halfWay(r *run) {
	p.t.Helper()
	part := filepath.Join(filepath.Dir(p.target), "."+filepath.Base(p.target)+".llmhost-part", "file")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		var is syscall.Stat_t
		if err := syscall.Stat(part, &is); err == nil && is.Blocks*512 >= 96*mib {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("waited in vain for bytes in %s:\n%s", part, r.stderr.String())
		}
	}
}

// arrives pushes, and checks that what is there is right and what was left of an earlier attempt was used.
func (p *slowPush) arrives() {
	p.t.Helper()
	r := p.start()
	if code := r.ends(); code != 0 {
		p.t.Fatalf("exit code %d\n%s", code, r.stderr.String())
	}
	var result pushed
	if err := json.Unmarshal(r.stdout.Bytes(), &result); err != nil {
		p.t.Fatal(err)
	}
	if most := uint64(p.size - 64*mib); result.Sent > most || result.Found < 64*mib {
		p.t.Errorf("96 MiB of %d had arrived, and %d were sent again and %d found", p.size, result.Sent, result.Found)
	}
	if result.SHA256 != p.sha256 {
		p.t.Errorf("it has the SHA-256 %s, want %s", result.SHA256, p.sha256)
	}
	p.right()
}

func (p *slowPush) right() {
	p.t.Helper()
	if out, err := exec.Command("cmp", p.source, p.target).CombinedOutput(); err != nil {
		p.t.Errorf("%v: %s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(p.host.dir, ".*")); len(left) > 0 {
		p.t.Errorf("left behind: %v", left)
	}
}

func (p *slowPush) absent() {
	p.t.Helper()
	if _, err := os.Lstat(p.target); !os.IsNotExist(err) {
		p.t.Errorf("%s: %v", p.target, err)
	}
}

func TestDisturbedPushes(t *testing.T) {
	if !inModelNamespace(t) {
		return
	}
	h := startModelHost(t)

	t.Run("killed", func(t *testing.T) {
		p := newSlowPush(t, h, "killed.gguf")
		r := p.start()
		p.halfWay(r)
		if err := r.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		r.ends()
		p.absent()
		p.arrives()
	})
	t.Run("interrupted", func(t *testing.T) {
		p := newSlowPush(t, h, "interrupted.gguf")
		r := p.start()
		p.halfWay(r)
		if err := r.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if code := r.ends(); code != 8 || !strings.Contains(r.stderr.String(), "the same command goes on from it") {
			t.Errorf("exit code %d\n%s", code, r.stderr.String())
		}
		p.absent()
		p.arrives()
	})
	t.Run("changed", func(t *testing.T) {
		p := newSlowPush(t, h, "changed.gguf")
		r := p.start()
		p.halfWay(r)
		f, err := os.OpenFile(p.source, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte("X"), p.size-1); err != nil {
			t.Fatal(err)
		}
		if code := r.ends(); code != 1 || !strings.Contains(r.stderr.String(), "the source has changed") {
			t.Errorf("exit code %d\n%s", code, r.stderr.String())
		}
		p.absent()
	})
	t.Run("twice at once", func(t *testing.T) {
		p := newSlowPush(t, h, "twice.gguf")
		first := p.start()
		p.halfWay(first)
		second := p.start()
		if code := first.ends(); code != 0 {
			t.Errorf("the first one: exit code %d\n%s", code, first.stderr.String())
		}
		if code := second.ends(); code != 0 && !strings.Contains(second.stderr.String(), "is bringing the same model now") {
			t.Errorf("the second one: exit code %d\n%s", code, second.stderr.String())
		}
		if out, err := exec.Command("cmp", p.source, p.target).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
}
