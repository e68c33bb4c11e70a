package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/melbahja/goph"
	"golang.org/x/crypto/ssh"
)

const (
	keepaliveEvery  = 15 * time.Second
	keepaliveMisses = 3
)

// sshLink is an SSH connection, with those to its jump hosts.
type sshLink struct {
	way  []*goph.Client // the last one is the host
	wire *corkedConn    // of the last one
	dead chan struct{}

	mu  sync.Mutex
	why error
}

func newSSHLink(way []*goph.Client, wire *corkedConn) *sshLink {
	l := &sshLink{way: way, wire: wire, dead: make(chan struct{})}
	go func() {
		err := l.client().Wait()
		l.fail(fmt.Errorf("the SSH connection was cut: %w", err))
		close(l.dead)
		l.close()
	}()
	go l.keepAlive(keepaliveEvery)
	return l
}

// cork collects small writes until the returned function is called.
func (l *sshLink) cork() (uncork func()) { return l.wire.cork() }

func (l *sshLink) client() *goph.Client { return l.way[len(l.way)-1] }

// keepAlive asks the server for a sign of life. Without it, a connection whose other end has
// vanished looks open for ever.
func (l *sshLink) keepAlive(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	answers := make(chan error, 1)
	waiting, misses := false, 0
	for {
		select {
		case <-l.dead:
			return
		case err := <-answers:
			if err != nil {
				return // Wait sees the same
			}
			waiting, misses = false, 0
		case <-ticker.C:
			if waiting {
				if misses++; misses >= keepaliveMisses {
					l.fail(fmt.Errorf("the host gave no sign of life for %s", time.Duration(misses+1)*every))
					l.close()
					return
				}
				continue
			}
			waiting = true
			go func() {
				_, _, err := l.client().SendRequest("keepalive@openssh.com", true, nil)
				answers <- err
			}()
		}
	}
}

// fail records why the link died; the first reason is the true one.
func (l *sshLink) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		l.why = err
	}
}

func (l *sshLink) done() <-chan struct{} { return l.dead }

func (l *sshLink) cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}

func (l *sshLink) close() error {
	var errs []error
	for i := len(l.way) - 1; i >= 0; i-- {
		if err := l.way[i].Close(); err != nil && !errors.Is(err, io.EOF) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// shell opens a channel with /bin/sh on it. A cancelled caller does not wait for a server
// that does not answer; the channel is closed when it comes.
func (l *sshLink) shell(ctx context.Context) (*process, error) {
	type result struct {
		process *process
		err     error
	}
	results := make(chan result, 1)
	go func() {
		p, err := startShell(l.client().Client)
		results <- result{p, err}
	}()
	select {
	case r := <-results:
		return r.process, r.err
	case <-ctx.Done():
		go func() {
			if r := <-results; r.err == nil {
				r.process.kill()
			}
		}()
		return nil, ctx.Err()
	}
}

func startShell(client *ssh.Client) (*process, error) {
	session, err := client.NewSession()
	if err != nil {
		return nil, fmt.Errorf("open an SSH channel: %w", err)
	}
	p := &process{stderr: &tail{}, exited: make(chan struct{}), kill: func() { session.Close() }}
	session.Stderr = p.stderr
	if p.stdin, err = session.StdinPipe(); err == nil {
		if p.stdout, err = session.StdoutPipe(); err == nil {
			err = session.Start("/bin/sh")
		}
	}
	if err != nil {
		session.Close()
		return nil, fmt.Errorf("start a shell: %w", err)
	}
	go func() {
		_ = session.Wait() // how it ended is told by what it said
		session.Close()
		close(p.exited)
	}()
	return p, nil
}
