package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

type launchOptions struct {
	name    string
	dir     string   // the host's folder, which has its disk
	workDir string   // QEMU's working folder
	port    int      // 0: a free one
	args    []string // more of QEMU's arguments
}

// launch starts QEMU and writes down what it has started before anything else can fail, so
// that a host is never running without a record of it.
func launch(ctx context.Context, m machine, o launchOptions) (vm *VM, err error) {
	r := record{Name: o.name, Engine: m.image.engine()}
	if r.HostKey, err = m.image.hostKey(); err != nil {
		return nil, err
	}
	if r.Monitor, err = monitorPath(o.dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, newVM(o.dir, r).forget())
		}
	}()
	if o.port != 0 {
		if err := portFree(o.port); err != nil {
			return nil, err
		}
	}
	const attempts = 5
	for attempt := 1; ; attempt++ {
		vm, err := launchOnce(ctx, m, o, r)
		// A port that was free may be taken when QEMU comes to it.
		if err != nil && o.port == 0 && attempt < attempts && strings.Contains(err.Error(), "host forwarding rule") {
			continue
		}
		return vm, err
	}
}

func launchOnce(ctx context.Context, m machine, o launchOptions, r record) (*VM, error) {
	r.Port = o.port
	if r.Port == 0 {
		var err error
		if r.Port, err = freePort(); err != nil {
			return nil, err
		}
	}
	vm := newVM(o.dir, r)
	if err := vm.writeAccess(m.image); err != nil {
		return nil, err
	}
	cmd, err := m.start(o, r.Monitor, r.Port)
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait() // its log says more than its exit code
		close(ended)
	}()
	if err := vm.remember(cmd); err != nil {
		cmd.Process.Kill()
		<-ended
		return nil, err
	}
	mon, err := openMonitor(ctx, r.Monitor, func() error {
		select {
		case <-ended:
			return fmt.Errorf("QEMU ended at once: %s", vm.qemuLog())
		default:
			return nil
		}
	})
	if err != nil {
		cmd.Process.Kill()
		<-ended
		return nil, err
	}
	return vm, mon.Close()
}

// remember writes the record of a host that was just started.
func (vm *VM) remember(cmd *exec.Cmd) error {
	p, err := identify(cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("QEMU ended at once: %s", vm.qemuLog())
	}
	vm.PID, vm.record.Process = p.PID, p
	return vm.record.write(vm.Dir)
}

// writeAccess writes the files that an SSH client needs.
func (vm *VM) writeAccess(img image) error {
	key, err := os.ReadFile(img.identity())
	if err != nil {
		return fmt.Errorf("the lab's key: %w", err)
	}
	if err := atomicfile.Write(vm.IdentityFile, key); err != nil {
		return err
	}
	return atomicfile.Write(vm.KnownHostsFile, []byte(knownHostsLine(vm.Address, vm.Port, vm.HostKey)))
}

// knownHostsLine is a host's line of known_hosts, whose form for a port isn't the plain one.
func knownHostsLine(address string, port int, key string) string {
	name := address
	if port != 22 {
		name = fmt.Sprintf("[%s]:%d", address, port)
	}
	return name + " " + key + "\n"
}

func portFree(port int) error {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("port %d of this machine, which the lab host is to be reached on, is taken: %w (another lab host? `llmhost lab list` shows those of this project)", port, err)
	}
	return l.Close()
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// files that the lab makes in a host's folder.
func (vm *VM) files() []string {
	files := []string{vm.IdentityFile, vm.KnownHostsFile, vm.Console()}
	for _, name := range []string{"disk.qcow2", "qemu.log", recordFile} {
		files = append(files, filepath.Join(vm.Dir, name))
	}
	return append(files, vm.record.Monitor)
}
