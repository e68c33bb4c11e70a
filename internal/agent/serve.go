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
// silent. The end of the pipe is no error. It closes the pipe.
func Serve(ctx context.Context, rwc io.ReadWriteCloser, o Options) error {
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn := newPipe(rwc)
	defer conn.Close()
	server := NewServer(o)
	defer server.Close()

	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.InitialWindowSize(window),
		grpc.InitialConnWindowSize(window),
		grpc.WaitForHandlers(true),
		grpc.UnaryInterceptor(server.recoverUnary),
		grpc.StreamInterceptor(server.recoverStream),
	)
	agentpb.RegisterAgentServer(g, server)
	go conn.watch(ctx, o.Idle, func() { cancel(ErrIdle) })

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
		server.log.Warn("calls were still running when the agent ended")
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
		s.log.Error("panic", "method", method, "value", fmt.Sprint(r), "stack", string(debug.Stack()))
		*err = status.Errorf(codes.Internal, "the agent has failed in %s: %v; please report this as a bug in llmhost", method, r)
	}
}
