package lab

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// These tests boot real machines. The first run on a machine builds the image, which takes
// minutes; later ones resume it in seconds.

func up(t *testing.T, ctx context.Context, name, dir string) *VM {
	t.Helper()
	vm, err := Up(ctx, Options{Name: name, Dir: dir, Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vm.Down(); err != nil {
			t.Errorf("taking %s down: %v", name, err)
		}
	})
	return vm
}

func on(t *testing.T, ctx context.Context, vm *VM, user, command string) string {
	t.Helper()
	out, err := vm.SSH(ctx, user, command)
	if err != nil {
		t.Errorf("%v", err)
	}
	return strings.TrimSpace(string(out))
}

func TestUpRestoresARealHost(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	dir := filepath.Join(t.TempDir(), "a folder, with a comma, whose name is too long for the path of a Unix socket in it, so it must be elsewhere")
	vm := up(t, ctx, "one", dir)

	if got := on(t, ctx, vm, "ops", "sudo -n systemctl is-system-running"); got != "running" {
		t.Errorf("the system is %q, not running", got)
	}
	if got := on(t, ctx, vm, "ops", "sudo -n id -u"); got != "0" {
		t.Errorf("ops becomes user %s by sudo", got)
	}
	if got := on(t, ctx, vm, "root", "cat /proc/1/comm; stat -fc %T /sys/fs/cgroup"); got != "systemd\ncgroup2fs" {
		t.Errorf("the host's init and cgroups are %q", got)
	}
	if got := on(t, ctx, vm, "root", "chroot /opt/llama.cpp /usr/bin/llama-server --version 2>&1"); !strings.Contains(got, "version") {
		t.Errorf("llama-server --version says %q", got)
	}
	clock := on(t, ctx, vm, "root", "date +%s")
	if seconds, err := strconv.ParseInt(clock, 10, 64); err != nil || time.Since(time.Unix(seconds, 0)).Abs() > time.Hour {
		t.Errorf("the host's clock says %q, which is far from this machine's: %v", clock, err)
	}
	if got := on(t, ctx, vm, "root", "sshd -T -C user=plain | grep -i ^passwordauthentication; sshd -T -C user=ops | grep -i ^passwordauthentication"); got != "passwordauthentication yes\npasswordauthentication no" {
		t.Errorf("password logins of plain and of ops are %q", got)
	}
	if out, err := vm.SSH(ctx, "root", "curl -sS -m 3 http://10.0.2.2/"); err == nil {
		t.Errorf("the host reaches this machine's network: %s", out)
	}

	again, err := Up(ctx, Options{Name: "one", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if again.PID != vm.PID || again.Port != vm.Port {
		t.Errorf("Up of a running host made another: process %d, was %d", again.PID, vm.PID)
	}
	if _, err := Up(ctx, Options{Name: "one", Dir: dir, Port: vm.Port + 1}); err == nil {
		t.Error("Up of a running host on another port says nothing")
	}
	listed, err := List(filepath.Dir(dir))
	if err != nil || len(listed) != 1 || listed[0].PID != vm.PID || !listed[0].Running() {
		t.Errorf("List has %v, %v; want the running host", listed, err)
	}

	if err := vm.Down(); err != nil {
		t.Fatal(err)
	}
	if vm.Running() {
		t.Errorf("process %d still runs after Down", vm.PID)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Down has left files: %v", err)
	}
	if err := vm.Down(); err != nil {
		t.Errorf("Down of a host that is gone: %v", err)
	}
}

func TestHostsAreApart(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	dir := t.TempDir()
	a := up(t, ctx, "a", filepath.Join(dir, "a"))
	b := up(t, ctx, "b", filepath.Join(dir, "b"))
	on(t, ctx, a, "root", "echo of a >/root/mark")
	if got := on(t, ctx, b, "root", "ls /root"); got != "" {
		t.Errorf("what was written on one host is on the other: %q", got)
	}
	if a, b := on(t, ctx, a, "root", "cat /proc/sys/kernel/random/uuid"), on(t, ctx, b, "root", "cat /proc/sys/kernel/random/uuid"); a == b {
		t.Errorf("two hosts draw the same random number %s", a)
	}

	if err := a.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	brief, cancelBrief := context.WithTimeout(ctx, 2*time.Second)
	defer cancelBrief()
	if _, err := a.SSH(brief, "root", "true"); err == nil {
		t.Error("a paused host answers")
	}
	if err := a.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	if got := on(t, ctx, a, "root", "cat /root/mark"); got != "of a" {
		t.Errorf("after a pause the host has %q", got)
	}

	on(t, ctx, a, "root", "sync; echo of the page cache >/root/unwritten")
	boot := on(t, ctx, a, "root", "cat /proc/sys/kernel/random/boot_id")
	if err := a.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	if got := on(t, ctx, a, "root", "cat /proc/sys/kernel/random/boot_id"); got == boot {
		t.Error("a host that was reset has not booted")
	}
	if got := on(t, ctx, a, "root", "cat /root/mark; cat /root/unwritten 2>/dev/null || true"); got != "of a" {
		t.Errorf("after a reset the disk holds %q, want what was synced and not what was in memory", got)
	}

	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if a.Running() {
		t.Error("a host runs whose power was cut")
	}
	if got := on(t, ctx, b, "root", "echo here"); got != "here" {
		t.Errorf("the other host says %q", got)
	}
	fresh := up(t, ctx, "a", filepath.Join(dir, "a"))
	if got := on(t, ctx, fresh, "root", "ls /root"); got != "" {
		t.Errorf("a host that was started anew has %q of the one before it", got)
	}
}

// A record can outlive its host, and its process ID can then be another program's.
func TestDownSparesAProcessThatIsNotTheHosts(t *testing.T) {
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- other.Wait() }()
	t.Cleanup(func() {
		other.Process.Kill()
		<-ended
	})
	p, err := identify(other.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for name, process := range map[string]process{
		"another program":            p,
		"an earlier process":         {PID: p.PID, Started: "1", Boot: p.Boot},
		"a process of an older boot": {PID: p.PID, Started: p.Started, Boot: "older"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := record{Name: "gone", Port: 1, Monitor: filepath.Join(dir, "qmp.sock"), Process: process}
			if err := r.write(dir); err != nil {
				t.Fatal(err)
			}
			vm, err := Open(filepath.Dir(dir), filepath.Base(dir))
			if err != nil {
				t.Fatal(err)
			}
			if vm.Running() {
				t.Error("the host counts as running")
			}
			if err := errors.Join(vm.Kill(), vm.Down()); err != nil {
				t.Error(err)
			}
			select {
			case err := <-ended:
				t.Fatalf("the process was ended: %v", err)
			default:
			}
		})
	}
}

func TestUpRefusesATakenPort(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	dir := filepath.Join(t.TempDir(), "late")
	vm, err := Up(ctx, Options{Name: "late", Dir: dir, Port: listening(t)})
	if err == nil {
		vm.Down()
	}
	if err == nil || !strings.Contains(err.Error(), "is taken") {
		t.Errorf("the error is %v, and doesn't say that the port is taken", err)
	}
	if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
		t.Errorf("a host that wasn't started has left %v", left)
	}
}

func TestProgressSaysWhatTakesLong(t *testing.T) {
	var b bytes.Buffer
	done := newProgress(&b).step("boiling")
	if got := b.String(); got != "boiling …\n" {
		t.Errorf("at its begin a step says %q", got)
	}
	done()
	if got := b.String(); !strings.HasPrefix(got, "boiling …\nboiling: ") || !strings.HasSuffix(got, " s\n") {
		t.Errorf("at its end a step has said %q", got)
	}
}
