package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/transfer"
)

const (
	// maxMessage is the largest message, in bytes, in both directions: a file with its content.
	// It is the client's limit too.
	maxMessage = 64 << 20

	// window is how much may be on its way to the agent, in bytes, before it says that it has
	// read some. An SSH channel's window is 2 MiB; one below that would be the bottleneck.
	window = 4 << 20

	// grace is how long calls have to end after the connection did. A change that can't be
	// made halfway, such as starting a unit, runs to its end in that time.
	grace = 10 * time.Second
)

// ErrIdle is Serve's error when the other side has been silent for too long.
var ErrIdle = errors.New("nothing was received for too long")

// Serve speaks the protocol over a pipe until the pipe ends, ctx is done, or the other side is
// silent. The end of the pipe is no error. It closes the pipe. What the other side says first
// chooses between gRPC and a lane.
func Serve(ctx context.Context, rwc io.ReadWriteCloser, o Options) error {
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	head, err := firstBytes(ctx, rwc, o.Idle)
	if err != nil || len(head) == 0 {
		rwc.Close()
		return err
	}
	rwc = &prefixed{ReadWriteCloser: rwc, head: head}
	server := NewServer(o)
	defer server.Close()
	if head[0] == transfer.Preface[0] {
		return server.ServeLane(ctx, rwc)
	}
	return server.serveCalls(ctx, rwc)
}

// firstBytes waits for what the other side says first. Nothing means that the pipe has ended.
func firstBytes(ctx context.Context, r io.Reader, idle time.Duration) ([]byte, error) {
	first := make(chan []byte, 1)
	go func() { // a read of a process's standard input can't be interrupted
		b := make([]byte, len(transfer.Preface))
		n, _ := r.Read(b)
		first <- b[:n]
	}()
	timer := time.NewTimer(idle)
	defer timer.Stop()
	select {
	case b := <-first:
		return b, nil
	case <-timer.C:
		return nil, ErrIdle
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// prefixed is a pipe some of which was already read.
type prefixed struct {
	io.ReadWriteCloser
	head []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	return p.ReadWriteCloser.Read(b)
}

// serveCalls is Serve for gRPC.
func (s *Server) serveCalls(ctx context.Context, rwc io.ReadWriteCloser) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn := newPipe(rwc)
	defer conn.Close()

	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.InitialWindowSize(window),
		grpc.InitialConnWindowSize(window),
		grpc.WaitForHandlers(true),
		grpc.UnaryInterceptor(s.recoverUnary),
		grpc.StreamInterceptor(s.recoverStream),
	)
	agentpb.RegisterAgentServer(g, s)
	go conn.watch(ctx, s.options.Idle, func() { cancel(ErrIdle) })

	served := make(chan error, 1)
	go func() { served <- g.Serve(newListener(conn)) }()
	var err error
	select {
	case <-served: // the listener ends with the pipe
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	conn.Close()
	stopped := make(chan struct{})
	go func() {
		g.Stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(grace):
		s.log.Warn("calls were still running when the agent ended")
	}
	return err
}

func (s *Server) recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	defer s.recover(info.FullMethod, &err)
	return handle(ctx, req)
}

func (s *Server) recoverStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer s.recover(info.FullMethod, &err)
	return handle(srv, stream)
}

// recover turns a panic into the error of its call: other calls may be halfway through a
// change.
func (s *Server) recover(method string, err *error) {
	if r := recover(); r != nil {
		*err = s.panicked(method, r, debug.Stack())
	}
}

func (s *Server) panicked(in string, value any, stack []byte) error {
	s.log.Error("panic", "in", in, "value", fmt.Sprint(value), "stack", string(stack))
	return status.Errorf(codes.Internal, "the agent has failed in %s: %v; please report this as a bug in llmhost", in, value)
}
