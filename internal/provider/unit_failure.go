package provider

import (
	"errors"
	"fmt"
	"strings"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/remote"
)

// installedGeneration is the generation of a unit that the agent has installed and systemd
// then failed to start. It is nil for every other error.
func installedGeneration(err error) *string {
	var e *remote.Error
	if !errors.As(err, &e) || e.Reason != agentpb.Reason_UNIT_FAILED {
		return nil
	}
	if g := e.Metadata["generation"]; g != "" {
		return &g
	}
	return nil
}

// startFailure is why a unit failed to start, with its last journal lines.
func startFailure(err error) []string {
	reasons := []string{fmt.Sprintf("the unit was installed and failed to start: %v", err)}
	var e *remote.Error
	if errors.As(err, &e) {
		if journal := strings.TrimRight(e.Metadata["journal"], "\n"); journal != "" {
			reasons = append(reasons, strings.Split(journal, "\n")...)
		}
	}
	return reasons
}
