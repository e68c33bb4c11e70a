package provider

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// installedGeneration is the generation of a unit that the agent has installed and systemd
// then failed to start. It is nil for every other error.
func installedGeneration(err error) *string {
	if info := errorInfo(err); info.GetReason() == agentpb.Reason_UNIT_FAILED.String() {
		if g := info.GetMetadata()["generation"]; g != "" {
			return &g
		}
	}
	return nil
}

// startFailure is why a unit failed to start, with its last journal lines.
func startFailure(err error) []string {
	reasons := []string{fmt.Sprintf("the unit was installed and failed to start: %s", sentence(err))}
	if journal := errorInfo(err).GetMetadata()["journal"]; journal != "" {
		reasons = append(reasons, strings.Split(strings.TrimRight(journal, "\n"), "\n")...)
	}
	return reasons
}

// errorInfo is the agent's own part of an error, or nil.
func errorInfo(err error) *errdetails.ErrorInfo {
	var s interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &s) {
		return nil
	}
	for _, d := range s.GRPCStatus().Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == agentpb.ErrorDomain {
			return info
		}
	}
	return nil
}
