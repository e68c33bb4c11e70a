package fault_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

func TestKernelErrorsHaveReasons(t *testing.T) {
	for errno, want := range map[error]agentpb.Reason{
		unix.ENOSPC:    agentpb.Reason_NO_SPACE,
		unix.EDQUOT:    agentpb.Reason_NO_SPACE,
		unix.EROFS:     agentpb.Reason_READ_ONLY,
		unix.EACCES:    agentpb.Reason_PERMISSION,
		unix.EPERM:     agentpb.Reason_PERMISSION,
		unix.ENOTDIR:   agentpb.Reason_WRONG_TYPE,
		unix.EISDIR:    agentpb.Reason_WRONG_TYPE,
		unix.ELOOP:     agentpb.Reason_WRONG_TYPE,
		unix.ENOTEMPTY: agentpb.Reason_NOT_EMPTY,
		unix.EIO:       agentpb.Reason_REASON_UNSPECIFIED,
	} {
		err := fault.OfPath("write", "/etc/x", &os.PathError{Op: "open", Path: "/etc/.llmhost-1", Err: errno})
		if got := fault.ReasonOf(err); got != want {
			t.Errorf("%v: reason %v, want %v", errno, got, want)
		}
		if !errors.Is(err, errno) {
			t.Errorf("%v is no longer found in %v", errno, err)
		}
	}
}

func TestReasonTravels(t *testing.T) {
	err := fmt.Errorf("outer: %w", fault.New(agentpb.Reason_LEASE_HELD, "held").With("holder", "ops@laptop").Hint("wait"))
	var info *errdetails.ErrorInfo
	for _, d := range status.Convert(err).Details() {
		info, _ = d.(*errdetails.ErrorInfo)
	}
	if info.GetDomain() != agentpb.ErrorDomain || info.GetReason() != "LEASE_HELD" ||
		info.GetMetadata()["holder"] != "ops@laptop" || info.GetMetadata()["hint"] != "wait" {
		t.Errorf("details are %v", info)
	}
}

func TestReasonIsKept(t *testing.T) {
	first := fault.New(agentpb.Reason_NO_SUCH_USER, "no user llm")
	if got := fault.OfPath("write", "/x", first); got != error(first) {
		t.Errorf("got %v", got)
	}
	if fault.OfPath("write", "/x", nil) != nil {
		t.Error("nil became an error")
	}
}
