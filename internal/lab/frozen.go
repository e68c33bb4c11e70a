package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// frozen is a host that has booted and stands still: its disk, as an overlay of the image's,
// and its memory. Hosts resume from it.
type frozen struct {
	dir string
}

func (f frozen) disk() string { return filepath.Join(f.dir, "disk.qcow2") }

// QEMU passes these to a shell, in the frozen state's folder, so that no path is in them.
const (
	saveMemory = "exec:zstd -q -1 -T0 -o memory.zst"
	loadMemory = "exec:zstd -q -d -c memory.zst"
)

// buildHost is the folder, in a frozen state that is being built, of the host that boots.
const buildHost = "host"

// bootTime is what a first boot may take; under emulation on two busy cores it takes 100 s.
const bootTime = 15 * time.Minute

// ensureFrozen returns the machine's frozen state, and boots and freezes it if the cache lacks it.
func ensureFrozen(ctx context.Context, p *progress, m machine) (frozen, error) {
	f := frozen{filepath.Join(m.image.dir, "frozen-"+stateRecipe(m))}
	return f, once(ctx, p, f.dir, "the lab's frozen host", func(temp string) error {
		return frozen{temp}.build(ctx, p, m)
	})
}

func (f frozen) build(ctx context.Context, p *progress, m machine) (err error) {
	defer p.step("first boot, with " + m.accelerator.name)()
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	host := filepath.Join(f.dir, buildHost)
	if err := os.Mkdir(host, 0o700); err != nil {
		return err
	}
	disk := filepath.Join(host, "disk.qcow2")
	if err := overlay(ctx, disk, m.image.disk()); err != nil {
		return err
	}
	vm, err := launch(ctx, m, launchOptions{name: "frozen", dir: host, workDir: f.dir})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w\nthe last lines of its console:\n%s", err, vm.consoleTail()), vm.end())
		}
	}()
	if err := vm.awaitSSH(ctx); err != nil {
		return err
	}
	if err := vm.settle(ctx); err != nil {
		return err
	}
	if err := vm.freeze(ctx); err != nil {
		return err
	}
	if err := os.Rename(disk, f.disk()); err != nil {
		return err
	}
	return vm.Down()
}

// settle waits until the boot is over, and makes the guest do once what it'll be asked for, so
// that the programs are in its memory.
func (vm *VM) settle(ctx context.Context) error {
	state, err := vm.SSH(ctx, "root", "systemctl is-system-running --wait")
	if got := strings.TrimSpace(string(state)); got != "running" {
		failed, _ := vm.SSH(ctx, "root", "systemctl --failed --no-legend --plain") // adds to an error that is there
		return fmt.Errorf("the host has booted and is %q, not running: %s (%w)", got, failed, err)
	}
	for _, c := range []struct{ user, command string }{
		{deployUser, "sudo -n true"},
		{"root", "docker info >/dev/null"},
		{"root", "nginx -t 2>/dev/null"},
		{"root", "systemctl daemon-reload"},
		{"root", "chroot /opt/llama.cpp /usr/bin/llama-server --version >/dev/null 2>&1"},
		{"root", "sync"},
	} {
		if out, err := vm.SSH(ctx, c.user, c.command); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
	}
	return nil
}

// freeze saves the memory and ends QEMU.
func (vm *VM) freeze(ctx context.Context) error {
	if err := vm.saveMemory(ctx); err != nil {
		return err
	}
	return vm.end()
}

func (vm *VM) saveMemory(ctx context.Context) error {
	mon, err := vm.monitor(ctx)
	if err != nil {
		return err
	}
	defer mon.Close()
	if err := mon.command(ctx, "stop", nil, nil); err != nil {
		return err
	}
	// As fast as the disk: the guest stands still anyway.
	if err := mon.command(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": int64(64) << 30}, nil); err != nil {
		return err
	}
	if err := mon.command(ctx, "migrate", map[string]any{"uri": saveMemory}, nil); err != nil {
		return err
	}
	return mon.await(ctx, "query-migrate", func(status string) (bool, error) {
		if status == "failed" || status == "cancelled" {
			return false, fmt.Errorf("saving the host's memory has %s: is the disk full?", status)
		}
		return status == "completed", nil
	})
}

// resume starts a host from the frozen state, in its own folder.
func (f frozen) resume(ctx context.Context, m machine, o launchOptions) (vm *VM, err error) {
	if err := overlay(ctx, filepath.Join(o.dir, "disk.qcow2"), f.disk()); err != nil {
		return nil, err
	}
	o.workDir = f.dir
	o.args = []string{"-incoming", loadMemory}
	vm, err = launch(ctx, m, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("resuming the lab host %q: %w\n%s", o.name, err, vm.qemuLog()), vm.Down())
		}
	}()
	mon, err := vm.monitor(ctx)
	if err != nil {
		return vm, err
	}
	defer mon.Close()
	err = mon.await(ctx, "query-status", func(status string) (bool, error) { return status != "inmigrate", nil })
	if err != nil {
		return vm, err
	}
	if err := mon.command(ctx, "cont", nil, nil); err != nil {
		return vm, err
	}
	if err := vm.awaitSSH(ctx); err != nil {
		return vm, err
	}
	return vm, nil
}

// awaitSSH waits until the host lets root in, and sets its clock, which stood still.
func (vm *VM) awaitSSH(ctx context.Context) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 30*time.Second)
		_, err := vm.SSH(attempt, "root", fmt.Sprintf("date -s @%d >/dev/null", time.Now().Unix()))
		cancel()
		if err == nil {
			return nil
		}
		if !vm.Running() {
			return fmt.Errorf("QEMU has ended: %s", vm.qemuLog())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the host doesn't answer on SSH: %w", errors.Join(err, ctx.Err()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (vm *VM) consoleTail() string { return fileTail(vm.Console()) }
func (vm *VM) qemuLog() string     { return fileTail(filepath.Join(vm.Dir, "qemu.log")) }

func fileTail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return tail(content, 15)
}
