package remote

import (
	"errors"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// What went wrong, for errors.Is. The sentence for people is in Error.
var (
	ErrTarget       = errors.New("not a usable target")
	ErrUnreachable  = errors.New("host unreachable")
	ErrHostKey      = errors.New("host key not confirmed")
	ErrAuth         = errors.New("login refused")
	ErrSudo         = errors.New("not allowed to become root")
	ErrArchitecture = errors.New("architecture not supported")
	ErrNoSystemd    = errors.New("host not run by systemd")
	ErrNoAgent      = errors.New("agent binary not available")
	ErrStart        = errors.New("agent did not start")
	ErrProtocol     = errors.New("agent speaks another protocol")
)

// Error is every error of this package: a plain sentence, a hint, and for code a reason of
// the agent or one of the sentinels above.
type Error struct {
	Host     string         // which host, for people; may be empty
	Reason   agentpb.Reason // of the agent; REASON_UNSPECIFIED when the agent did not say
	Op       string         // what was being done: "connect", "PutFile"
	Path     string         // of the file that it is about, if any
	Message  string
	Hint     string // what to do
	Metadata map[string]string
	Err      error // the cause, if any

	kind error
}

// Error is the sentence and the hint.
func (e *Error) Error() string {
	text := e.Message
	if text == "" && e.Err != nil {
		text = e.Err.Error()
	}
	if e.Host != "" {
		text = e.Host + ": " + text
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Unwrap gives errors.Is and errors.As both the sentinel and the cause.
func (e *Error) Unwrap() []error {
	var all []error
	for _, err := range []error{e.kind, e.Err} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// ReasonOf is the agent's reason in err, or REASON_UNSPECIFIED.
func ReasonOf(err error) agentpb.Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return agentpb.Reason_REASON_UNSPECIFIED
}

// newError is an Error of the given kind about a host.
func newError(kind error, host, op, message, hint string, cause error) *Error {
	return &Error{Host: host, Op: op, Message: message, Hint: hint, Err: cause, kind: kind}
}
