package remote

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// DialServer connects to a server on the host: "unix:/run/llmhost/NAME/llm.sock" or
// "tcp:127.0.0.1:PORT". The context limits the dialling alone.
func (c *Conn) DialServer(ctx context.Context, address string) (net.Conn, error) {
	life, cancel := context.WithCancelCause(context.Background())
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	fail := func(err error) (net.Conn, error) {
		stop()
		cancel(nil)
		if ctx.Err() != nil {
			return nil, cancelled(ctx, c.host, "Dial")
		}
		return nil, err
	}
	stream, err := c.control.client.Dial(life)
	if err != nil {
		return fail(err)
	}
	if err := stream.Send(&agentpb.DialData{Address: address}); err != nil {
		if err == io.EOF { // the reason is on the receiving side
			_, err = stream.Recv()
		}
		return fail(err)
	}
	// The agent sends the header once it is connected, and an error otherwise.
	if header, err := stream.Header(); err != nil || header == nil {
		if _, recvErr := stream.Recv(); recvErr != nil {
			err = recvErr
		}
		return fail(err)
	}
	if !stop() {
		return fail(context.Cause(ctx))
	}
	s := &serverConn{
		stream:  stream,
		address: address,
		cancel:  func() { cancel(net.ErrClosed) },
		closed:  make(chan struct{}),
		chunks:  make(chan chunk),
		writes:  make(chan write),
		readBy:  newDeadline(),
		writeBy: newDeadline(),
	}
	go s.receive()
	go s.transmit()
	return s, nil
}

// serverConn is a Dial stream as a net.Conn, with deadlines and half close.
type serverConn struct {
	stream  agentpb.Agent_DialClient
	address string
	cancel  func()

	once   sync.Once
	closed chan struct{}

	chunks chan chunk
	readMu sync.Mutex
	rest   []byte // of the last chunk
	ended  error  // what the last chunk ended with

	writes   chan write
	writeMu  sync.Mutex
	finished bool // CloseWrite was called

	readBy, writeBy *deadline
}

type chunk struct {
	data []byte
	err  error
}

type write struct {
	data []byte // nil: no more data will come
	done chan error
}

// maxChunk is the size of the messages that a write is split into.
const maxChunk = 64 << 10

func (s *serverConn) receive() {
	for {
		m, err := s.stream.Recv()
		select {
		case s.chunks <- chunk{m.GetData(), err}:
		case <-s.closed:
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *serverConn) transmit() {
	for {
		select {
		case w := <-s.writes:
			if w.data == nil {
				w.done <- s.stream.CloseSend()
				continue
			}
			w.done <- s.stream.Send(&agentpb.DialData{Data: w.data})
		case <-s.closed:
			return
		}
	}
}

func (s *serverConn) Read(b []byte) (int, error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	for len(s.rest) == 0 {
		if s.ended != nil {
			return 0, s.ended
		}
		if isClosed(s.readBy.passed()) {
			return 0, os.ErrDeadlineExceeded
		}
		select {
		case c := <-s.chunks:
			s.rest, s.ended = c.data, c.err
		case <-s.closed:
			return 0, net.ErrClosed
		case <-s.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *serverConn) Write(b []byte) (int, error) {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if s.finished {
		return 0, net.ErrClosed
	}
	sent := 0
	for sent < len(b) {
		// A copy: gRPC may hold on to the bytes after a deadline let the caller go.
		piece := append([]byte(nil), b[sent:min(len(b), sent+maxChunk)]...)
		if err := s.post(piece); err != nil {
			return sent, err
		}
		sent += len(piece)
	}
	return sent, nil
}

// post hands data to the sender and waits until gRPC has taken it.
func (s *serverConn) post(data []byte) error {
	if isClosed(s.writeBy.passed()) {
		return os.ErrDeadlineExceeded
	}
	w := write{data: data, done: make(chan error, 1)}
	select {
	case s.writes <- w:
	case <-s.closed:
		return net.ErrClosed
	case <-s.writeBy.passed():
		return os.ErrDeadlineExceeded
	}
	select {
	case err := <-w.done:
		return err
	case <-s.closed:
		return net.ErrClosed
	case <-s.writeBy.passed():
		return os.ErrDeadlineExceeded
	}
}

// CloseWrite tells the server that no more data comes; its answer can still be read.
func (s *serverConn) CloseWrite() error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if s.finished {
		return nil
	}
	s.finished = true
	return s.post(nil)
}

func (s *serverConn) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.cancel()
	})
	return nil
}

func (s *serverConn) LocalAddr() net.Addr  { return serverAddr("llmhost") }
func (s *serverConn) RemoteAddr() net.Addr { return serverAddr(s.address) }

func (s *serverConn) SetDeadline(t time.Time) error {
	s.readBy.set(t)
	s.writeBy.set(t)
	return nil
}
func (s *serverConn) SetReadDeadline(t time.Time) error  { s.readBy.set(t); return nil }
func (s *serverConn) SetWriteDeadline(t time.Time) error { s.writeBy.set(t); return nil }

type serverAddr string

func (serverAddr) Network() string  { return "llmhost" }
func (a serverAddr) String() string { return string(a) }

// deadline is a moment that can be moved, as a channel that is closed when it has passed.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	over  chan struct{}
}

func newDeadline() *deadline { return &deadline{over: make(chan struct{})} }

func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if isClosed(d.over) {
		d.over = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	over := d.over
	left := time.Until(t)
	if left <= 0 {
		close(over)
		return
	}
	d.timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.over == over && !isClosed(over) {
			close(over)
		}
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
