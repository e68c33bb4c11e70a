package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// Options say which host to start.
type Options struct {
	Name string    // letters, digits and dashes
	Dir  string    // the host's own folder: its disk, its logs, and the files to log in with
	Port int       // the port of 127.0.0.1 that reaches its SSH server; 0 for a free one
	Log  io.Writer // progress for people; nil for none
}

// VM is a lab host. Its fields say how to reach it.
type VM struct {
	Name           string
	Dir            string
	Address        string // 127.0.0.1
	Port           int
	User           string // may become root through sudo, without a password
	IdentityFile   string // the private key of User and of root
	KnownHostsFile string
	HostKey        string // as in known_hosts: "ssh-ed25519 AAAA…"
	PID            int    // of QEMU
	EngineArchive  string // llama.cpp as a root directory, .tar.zst
	EngineSHA256   string

	record record
}

func newVM(dir string, r record) *VM {
	return &VM{
		Name:           r.Name,
		Dir:            dir,
		Address:        "127.0.0.1",
		Port:           r.Port,
		User:           deployUser,
		IdentityFile:   filepath.Join(dir, "id_ed25519"),
		KnownHostsFile: filepath.Join(dir, "known_hosts"),
		HostKey:        r.HostKey,
		PID:            r.Process.PID,
		EngineArchive:  r.Engine,
		record:         r,
	}
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// Up returns a running host of that name in that folder: the one that runs, or a fresh one.
// It first builds what the cache lacks, which takes minutes. The host runs until [VM.Down],
// whatever becomes of this process.
func Up(ctx context.Context, o Options) (*VM, error) {
	if !validName.MatchString(o.Name) {
		return nil, fmt.Errorf("%q can't be a lab host's name: use small letters, digits and dashes", o.Name)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := missingError(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the lab host's folder: %w", err)
	}
	p := newProgress(o.Log)
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, folder, func() { p.say("another process starts the lab host %q: waiting for it", o.Name) })
	if err != nil {
		return nil, err
	}
	defer unlock()
	vm, err := open(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case vm.Running() && vm.Name != o.Name:
		return nil, fmt.Errorf("%s is the folder of the lab host %q, which is running", dir, vm.Name)
	case vm.Running() && o.Port != 0 && vm.Port != o.Port:
		return nil, fmt.Errorf("the lab host %q is running, on port %d and not %d: take it down first", o.Name, vm.Port, o.Port)
	case vm.Running():
		return vm, nil
	default:
		if err := vm.forget(); err != nil {
			return nil, err
		}
	}

	img, err := ensureImage(ctx, p)
	if err != nil {
		return nil, err
	}
	m, err := findMachine(ctx, p, img)
	if err != nil {
		return nil, err
	}
	f, err := ensureFrozen(ctx, p, m)
	if err != nil {
		return nil, err
	}
	done := p.step("resuming the lab host " + o.Name)
	vm, err = f.resume(ctx, m, launchOptions{name: o.Name, dir: dir, port: o.Port})
	done()
	if err != nil {
		os.Remove(dir) // fails if there is something else in it, which then stays
		return nil, err
	}
	vm.EngineSHA256, err = fileSHA256(vm.EngineArchive)
	return vm, err
}

// open returns the host of a folder, running or not.
func open(dir string) (*VM, error) {
	r, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	vm := newVM(dir, r)
	if vm.EngineSHA256, err = fileSHA256(r.Engine); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the lab host %q: its engine: %w", r.Name, err)
	}
	return vm, nil
}

// Open returns the host whose folder is dir/name. The error is an fs.ErrNotExist if there is none.
func Open(dir, name string) (*VM, error) {
	dir, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	vm, err := open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no lab host %q: %w", name, err)
	}
	return vm, err
}

// List returns the hosts whose folders are in dir, running or not, by name.
func List(dir string) ([]*VM, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the lab hosts: %w", err)
	}
	var vms []*VM
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		vm, err := Open(dir, e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		vms = append(vms, vm)
	}
	return vms, nil
}

// Running says whether the host's QEMU runs. The host may hang all the same.
func (vm *VM) Running() bool {
	return vm.record.Process.alive() && vm.record.Process.named(processName(vm.Name))
}

// Console is the path of what the host's kernel and init have printed.
func (vm *VM) Console() string { return filepath.Join(vm.Dir, "console.log") }

// Pause stops the host's processors: it is there and says nothing.
func (vm *VM) Pause(ctx context.Context) error { return vm.order(ctx, "stop") }

// Resume lets a paused host go on.
func (vm *VM) Resume(ctx context.Context) error { return vm.order(ctx, "cont") }

// Reset presses the host's reset button, and returns when it has booted again: what its disk
// had not been given is lost, and what the disk holds is there.
func (vm *VM) Reset(ctx context.Context) error {
	mon, err := vm.monitor(ctx)
	if err != nil {
		return err
	}
	defer mon.Close()
	// On its way up the machine resets once more, which ends QEMU otherwise, as a panic's has to.
	onReset := func(action string) error {
		return mon.command(ctx, "set-action", map[string]any{"reboot": action}, nil)
	}
	if err := onReset("reset"); err != nil {
		return err
	}
	if err := mon.command(ctx, "system_reset", nil, nil); err != nil {
		return err
	}
	if err := vm.awaitSSH(ctx); err != nil {
		return err
	}
	return onReset("shutdown")
}

// Kill cuts the host's power. What its disk had not been given is lost, and Up makes a fresh
// host.
func (vm *VM) Kill() error {
	if !vm.Running() {
		return nil
	}
	if err := vm.record.Process.kill(); err != nil {
		return fmt.Errorf("ending the lab host %q: %w", vm.Name, err)
	}
	return vm.awaitEnd(shutdownTime)
}

// Down ends the host and removes what the lab has in its folder, and the folder if nothing
// else is in it. A host that is gone already is no error.
func (vm *VM) Down() error {
	if err := vm.end(); err != nil {
		return err
	}
	if err := vm.forget(); err != nil {
		return err
	}
	os.Remove(vm.Dir) // fails if there is something else in it, which then stays
	return nil
}

// end ends QEMU, politely at first so that it completes its writes.
func (vm *VM) end() error {
	if !vm.Running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if err := vm.order(ctx, "quit"); err == nil {
		if vm.awaitEnd(shutdownTime) == nil {
			return nil
		}
	}
	return vm.Kill()
}

func (vm *VM) awaitEnd(limit time.Duration) error {
	for deadline := time.Now().Add(limit); vm.Running(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("the lab host %q (process %d) hasn't ended within %s", vm.Name, vm.PID, limit)
		}
	}
	return nil
}

// forget removes the files of a host that doesn't run.
func (vm *VM) forget() error {
	for _, path := range vm.files() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the lab host %q: %w", vm.Name, err)
		}
	}
	if dir := filepath.Dir(vm.record.Monitor); dir != vm.Dir {
		os.Remove(dir) // a folder of this socket alone; the system's temporary folder is cleaned anyway
	}
	return nil
}

func (vm *VM) monitor(ctx context.Context) (*monitor, error) {
	return openMonitor(ctx, vm.record.Monitor, func() error {
		if !vm.Running() {
			return fmt.Errorf("the lab host %q isn't running", vm.Name)
		}
		return nil
	})
}

func (vm *VM) order(ctx context.Context, command string) error {
	mon, err := vm.monitor(ctx)
	if err != nil {
		return err
	}
	defer mon.Close()
	return mon.command(ctx, command, nil, nil)
}
