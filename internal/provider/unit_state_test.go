package provider

import (
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

func TestObservedState(t *testing.T) {
	for want, seen := range map[string]*agentpb.UnitState{
		"running":      {ActiveState: "active", Asked: true, Answered: true},
		"unresponsive": {ActiveState: "active", Asked: true},
		"stopped":      {ActiveState: "inactive"},
		"failed":       {ActiveState: "failed"},
		"starting":     {ActiveState: "activating", SubState: "start"},
		"restarting":   {ActiveState: "activating", SubState: "auto-restart"},
		"stopping":     {ActiveState: "deactivating"},
		"maintenance":  {ActiveState: "maintenance"},
	} {
		if got := observedState(seen); got != want {
			t.Errorf("%v is shown as %q, want %q", seen, got, want)
		}
	}
}
