package remote

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// localLink is this machine: the same script and the same agent, without SSH.
type localLink struct{ dead chan struct{} }

func newLocalLink() *localLink { return &localLink{dead: make(chan struct{})} }

func (l *localLink) done() <-chan struct{} { return l.dead }
func (l *localLink) cause() error          { return nil }
func (l *localLink) close() error          { return nil }

// cork does nothing: a lane's writes are large as they are.
func (l *localLink) cork() (uncork func()) { return func() {} }

func (l *localLink) shell(context.Context) (*process, error) {
	cmd := exec.Command("/bin/sh")
	// A group of its own: Ctrl-C at the terminal must not end the agent in the middle of a
	// change; it ends when its input does.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &process{stderr: &tail{}, exited: make(chan struct{})}
	cmd.Stderr = p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a shell: %w", err)
	}
	// A pipe of our own: exec's would be closed at the program's end, read or not.
	stdout, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start a shell: %w", err)
	}
	cmd.Stdout = theirs
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		stdout.Close()
		return nil, fmt.Errorf("start a shell: %w", err)
	}
	p.stdin, p.stdout = stdin, stdout
	p.kill = func() {
		_ = cmd.Process.Kill()
		stdout.Close()
	}
	go func() {
		_ = cmd.Wait() // how it ended is told by what it said
		close(p.exited)
	}()
	return p, nil
}
