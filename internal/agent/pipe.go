package agent

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// pipe is a pair of streams as the connection that gRPC wants. It knows when it last received
// something.
type pipe struct {
	rwc  io.ReadWriteCloser
	in   *io.PipeReader
	once sync.Once
	done chan struct{}
	last atomic.Int64 // when something was received, in nanoseconds since start
	from time.Time
}

var _ net.Conn = (*pipe)(nil)

const pipeBuffer = 128 << 10 // bytes

func newPipe(rwc io.ReadWriteCloser) *pipe {
	in, feed := io.Pipe()
	p := &pipe{rwc: rwc, in: in, done: make(chan struct{}), from: time.Now()}
	go p.pump(feed)
	return p
}

// pump reads on its own, since a read of a process's standard input can't be interrupted and
// would keep the gRPC server from stopping.
func (p *pipe) pump(feed *io.PipeWriter) {
	buf := make([]byte, pipeBuffer)
	for {
		n, err := p.rwc.Read(buf)
		if n > 0 {
			p.last.Store(int64(time.Since(p.from)))
			if _, err := feed.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			feed.CloseWithError(err)
			return
		}
	}
}

// watch calls out once nothing was received for the given time.
func (p *pipe) watch(ctx context.Context, idle time.Duration, silent func()) {
	left := idle
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.done:
			return
		case <-time.After(left):
		}
		left = idle - (time.Since(p.from) - time.Duration(p.last.Load()))
		if left <= 0 {
			silent()
			return
		}
	}
}

func (p *pipe) Read(b []byte) (int, error)  { return p.in.Read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.rwc.Write(b) }

func (p *pipe) Close() error {
	err := net.ErrClosed
	p.once.Do(func() {
		close(p.done)
		p.in.Close()
		err = p.rwc.Close()
	})
	return err
}

// A pipe has no deadlines; watch ends a silent one.
func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

func (p *pipe) LocalAddr() net.Addr  { return pipeAddr{} }
func (p *pipe) RemoteAddr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// listener hands out one connection, and ends with it.
type listener struct {
	first chan net.Conn
	pipe  *pipe
}

func newListener(p *pipe) *listener {
	l := &listener{first: make(chan net.Conn, 1), pipe: p}
	l.first <- p
	return l
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.first:
		return c, nil
	case <-l.pipe.done:
		return nil, io.EOF
	}
}

func (l *listener) Close() error   { return nil }
func (l *listener) Addr() net.Addr { return pipeAddr{} }
