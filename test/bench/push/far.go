package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/atomicfile"
	"github.com/llmhost/llmhost/internal/lab"
)

// far is an SSH server that keeps to itself: what llmhost has on a host in /var/lib is in memory
// there, and neither meets nor leaves anything on this machine.
type far struct {
	place
	hostKey string
	sshd    int // its process
	runner  int // the process that started it, and to which its orphans fall

	input io.Closer
	cmd   *exec.Cmd
}

// started is what the process with the server says.
type started struct {
	lab.SSHD
	PID int
}

// startFar starts a server whose files are in dir. A prefix puts it into a namespace, where it
// answers at the given address.
func startFar(ctx context.Context, prefix []string, dir, home, address string) (*far, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil, err
	}
	args := append(prefix, self, sshdCommand, dir, home, address, ours)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	f := &far{input: input, cmd: cmd}
	line, err := bufio.NewReader(output).ReadBytes('\n')
	var s started
	if err == nil {
		err = json.Unmarshal(line, &s)
	}
	if err != nil {
		f.stop()
		return nil, fmt.Errorf("the server of the benchmark: %w", err)
	}
	f.hostKey, f.sshd, f.runner = s.HostKey, s.PID, cmd.Process.Pid
	f.place = place{address: s.Address, port: s.Port, user: s.User, key: s.IdentityFile, known: s.KnownHostsFile}
	if address != "" {
		f.address, f.known = address, filepath.Join(dir, "known_hosts_far")
		if err := atomicfile.Write(f.known, fmt.Appendf(nil, "[%s]:%d %s\n", address, f.port, f.hostKey)); err != nil {
			f.stop()
			return nil, err
		}
	}
	return f, nil
}

func (f *far) stop() {
	f.input.Close()
	_ = f.cmd.Wait() // what it says goes to standard error
}

// sshdCommand has this program run a server, until its input ends.
const sshdCommand = "sshd"

func runSSHD(dir, home, address, outside string) error {
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return err
	}
	if ours == outside {
		return errors.New("this is no namespace of its own, and nothing is mounted in it")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/var/lib", "tmpfs", 0, "size=256M,mode=755"); err != nil {
		return fmt.Errorf("mounting memory on /var/lib: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := lab.SSHDOptions{Config: []string{"SetEnv HOME=" + strconv.Quote(home)}}
	if address != "" {
		o.Config = append(o.Config, "ListenAddress "+address)
	}
	sshd, err := lab.StartSSHD(ctx, dir, o)
	if err != nil {
		return err
	}
	defer sshd.Stop()
	// A session may end before its agent has. The kernel counts the time of what was waited for.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	go func() {
		for {
			if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	if err := json.NewEncoder(os.Stdout).Encode(started{SSHD: *sshd, PID: sshd.PID()}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	// What a session has left behind would wait for ever for the other end of a link that is gone.
	for _, pid := range descendants(os.Getpid()) {
		if pid != sshd.PID() {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
	}
	return err
}
