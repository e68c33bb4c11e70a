package transfer

import (
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

func init() { lockPatience = 300 * time.Millisecond }

// ReasonOf is the agent's reason in an error.
func ReasonOf(err error) agentpb.Reason {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return agentpb.Reason(agentpb.Reason_value[info.GetReason()])
		}
	}
	return agentpb.Reason_REASON_UNSPECIFIED
}
