package remote

import (
	"context"
	"errors"
	"io"
	"path"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// translator turns what gRPC says into errors for people, in every call of a session.
type translator struct {
	host  string
	death func() error // why the agent is gone, nil while it is there
	count func()       // called for each call but the heartbeat
}

func (t translator) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if method != agentpb.Agent_Ping_FullMethodName {
		t.count()
	}
	return t.translate(ctx, method, invoke(ctx, method, req, reply, cc, opts...))
}

func (t translator) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	t.count()
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, t.translate(ctx, method, err)
	}
	return &translatedStream{ClientStream: s, caller: ctx, translator: t, method: method}, nil
}

type translatedStream struct {
	grpc.ClientStream
	caller     context.Context // the stream's own is cancelled at its end, whatever that was
	translator translator
	method     string
}

func (s *translatedStream) RecvMsg(m any) error {
	return s.translator.translate(s.caller, s.method, s.ClientStream.RecvMsg(m))
}

// SendMsg returns io.EOF when the other side ended the stream; RecvMsg then says why.
func (s *translatedStream) SendMsg(m any) error {
	return s.translator.translate(s.caller, s.method, s.ClientStream.SendMsg(m))
}

func (t translator) translate(ctx context.Context, method string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	op := path.Base(method)
	st := status.Convert(err)
	for _, detail := range st.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != agentpb.ErrorDomain {
			continue
		}
		e := &Error{
			Host:     t.host,
			Reason:   agentpb.Reason(agentpb.Reason_value[info.GetReason()]),
			Op:       op,
			Path:     info.GetMetadata()["path"],
			Message:  st.Message(),
			Hint:     info.GetMetadata()["hint"],
			Metadata: info.GetMetadata(),
		}
		if e.Hint == "" {
			e.Hint = hintFor(e.Reason)
		}
		switch e.Reason {
		case agentpb.Reason_NO_SYSTEMD:
			e.kind = ErrNoSystemd
		case agentpb.Reason_PROTOCOL:
			e.kind = ErrProtocol
		}
		return e
	}
	switch {
	case ctx.Err() != nil:
		return cancelled(ctx, t.host, op)
	case st.Code() == codes.Unavailable:
		return lost(t.host, op, firstError(t.death(), errors.New(st.Message())))
	case st.Code() == codes.Unimplemented:
		return newError(ErrProtocol, t.host, op, "the agent does not know how to do this ("+op+")", "use one version of llmhost", nil)
	default:
		if death := t.death(); death != nil {
			return lost(t.host, op, death)
		}
		return &Error{Host: t.host, Op: op, Message: st.Message()}
	}
}

// lost is the error of every call on a connection that is dead.
func lost(host, op string, why error) error {
	return newError(ErrUnreachable, host, op, "the connection to the host was lost ("+why.Error()+")",
		"nothing is known about what it did last; the next run looks", why)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// hintFor is what to do about a reason when the agent gave no hint.
func hintFor(reason agentpb.Reason) string {
	switch reason {
	case agentpb.Reason_NOT_OWNED:
		return "look at it, and set adopt = true on it to take it over"
	case agentpb.Reason_OTHER_OWNER:
		return "remove it from one of the two stacks"
	case agentpb.Reason_LEASE_HELD:
		return "wait until that deployment ends"
	case agentpb.Reason_NO_SPACE:
		return "free some space there"
	case agentpb.Reason_READ_ONLY:
		return "remount that file system for writing"
	case agentpb.Reason_NO_SYSTEMD:
		return "this needs a host that is run by systemd"
	case agentpb.Reason_PERMISSION:
		return "the agent has to run as root"
	case agentpb.Reason_NO_SUCH_USER:
		return "declare the user first"
	case agentpb.Reason_DIGEST_MISMATCH:
		return "is the sha256 that of the file? `llmhost pin` writes it"
	default:
		return ""
	}
}
