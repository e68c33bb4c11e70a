package remote

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// link is a way to run the start script on a host: an SSH connection or this machine.
type link interface {
	// shell starts /bin/sh, the only command that is ever asked for.
	shell(ctx context.Context) (*process, error)
	// done is closed when the link is dead.
	done() <-chan struct{}
	// cause says why a dead link died.
	cause() error
	// cork collects what is sent into larger writes, until uncork is called.
	cork() (uncork func())
	close() error
}

// process is a program on a host with its pipes.
type process struct {
	stdin  io.WriteCloser
	stdout io.Reader
	stderr *tail
	kill   func() // also releases what is left of an ended one
	exited chan struct{}
	ending sync.Once
}

// grace is how long a program has to end after its input did.
const grace = 3 * time.Second

// end closes the program's input, which the agent takes as its end, and waits for it.
func (p *process) end() {
	p.ending.Do(func() {
		p.stdin.Close()
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.exited:
		case <-timer.C:
		}
		p.kill()
	})
}

// tail keeps the end of what a program wrote to its standard error.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailSize; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// String is the text without empty lines.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for line := range strings.Lines(string(t.text)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// pipe is a program's standard input and output as the connection that gRPC wants.
type pipe struct {
	process *process
	reader  *bufio.Reader // may already hold what came after the agent's first line
	once    sync.Once
}

var _ net.Conn = (*pipe)(nil)

func (p *pipe) Read(b []byte) (int, error)  { return p.reader.Read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.process.stdin.Write(b) }

// Close ends the program without waiting for it.
func (p *pipe) Close() error {
	p.once.Do(func() { go p.process.end() })
	return nil
}

// Pipes have no deadlines. Hanging is found by the heartbeat, which ends the program.
func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

func (p *pipe) LocalAddr() net.Addr  { return pipeAddr{} }
func (p *pipe) RemoteAddr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "agent" }
