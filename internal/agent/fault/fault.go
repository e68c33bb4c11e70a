// Package fault holds the agent's errors: a reason that a program can act on, a sentence that
// a person can, and the form in which both travel over gRPC.
package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"golang.org/x/sys/unix"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Error is an error of the agent. A gRPC server sends it as it is.
type Error struct {
	Reason   agentpb.Reason
	Message  string
	Metadata map[string]string // see agent.proto
	Err      error             // what it was made from, if anything
}

// New makes an error of a reason and a sentence.
func New(reason agentpb.Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// With returns the error with one more piece of metadata.
func (e *Error) With(key, value string) *Error {
	out := *e
	out.Metadata = maps.Clone(e.Metadata)
	if out.Metadata == nil {
		out.Metadata = map[string]string{}
	}
	out.Metadata[key] = value
	return &out
}

// Hint is With for what to do about the error.
func (e *Error) Hint(format string, args ...any) *Error {
	return e.With("hint", fmt.Sprintf(format, args...))
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Err }

// grpcCodes are the codes of reasons; the others are FailedPrecondition.
var grpcCodes = map[agentpb.Reason]codes.Code{
	agentpb.Reason_REASON_UNSPECIFIED: codes.Unknown,
	agentpb.Reason_LEASE_HELD:         codes.Aborted,
	agentpb.Reason_NO_SPACE:           codes.ResourceExhausted,
	agentpb.Reason_PERMISSION:         codes.PermissionDenied,
	agentpb.Reason_INVALID:            codes.InvalidArgument,
	agentpb.Reason_DIGEST_MISMATCH:    codes.InvalidArgument,
	agentpb.Reason_BAD_ARCHIVE:        codes.InvalidArgument,
}

// GRPCStatus is the error as agent.proto promises it.
func (e *Error) GRPCStatus() *status.Status {
	code, ok := grpcCodes[e.Reason]
	if !ok {
		code = codes.FailedPrecondition
	}
	st := status.New(code, e.Message)
	detailed, err := st.WithDetails(&errdetails.ErrorInfo{
		Domain:   agentpb.ErrorDomain,
		Reason:   e.Reason.String(),
		Metadata: e.Metadata,
	})
	if err != nil {
		return st
	}
	return detailed
}

// ReasonOf is the reason of an error, and REASON_UNSPECIFIED when it has none.
func ReasonOf(err error) agentpb.Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return agentpb.Reason_REASON_UNSPECIFIED
}

// OfPath puts what the kernel says about a path into a reason and words. op says what was
// attempted, such as "write". What gRPC can send as it is, a cancellation, and nil stay as they are.
func OfPath(op, path string, err error) error {
	var ours interface{ GRPCStatus() *status.Status }
	if err == nil || errors.As(err, &ours) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	reason, words := agentpb.Reason_REASON_UNSPECIFIED, ""
	switch {
	case errors.Is(err, unix.ENOSPC):
		reason, words = agentpb.Reason_NO_SPACE, "no space is left on its file system"
	case errors.Is(err, unix.EDQUOT):
		reason, words = agentpb.Reason_NO_SPACE, "its disk quota is used up"
	case errors.Is(err, unix.EROFS):
		reason, words = agentpb.Reason_READ_ONLY, "its file system is read-only"
	case errors.Is(err, fs.ErrPermission):
		reason, words = agentpb.Reason_PERMISSION, "the agent may not"
	case errors.Is(err, unix.ENOTDIR):
		reason, words = agentpb.Reason_WRONG_TYPE, "a part of the path is not a directory"
	case errors.Is(err, unix.EISDIR):
		reason, words = agentpb.Reason_WRONG_TYPE, "it is a directory"
	case errors.Is(err, unix.ELOOP):
		reason, words = agentpb.Reason_WRONG_TYPE, "it is a symbolic link"
	case errors.Is(err, unix.ENOTEMPTY):
		reason, words = agentpb.Reason_NOT_EMPTY, "it is not empty"
	case errors.Is(err, unix.ENAMETOOLONG):
		reason, words = agentpb.Reason_INVALID, "the name is too long"
	default:
		words = bare(err).Error()
	}
	e := New(reason, "can't %s %s: %s", op, path, words).With("path", path)
	e.Err = err
	return e
}

// bare is the innermost error: the path in a PathError may be a temporary one.
func bare(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
