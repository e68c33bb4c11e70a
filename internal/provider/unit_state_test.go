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
		if got := observedState("running", seen); got != want {
			t.Errorf("%v is shown as %q, want %q", seen, got, want)
		}
	}
}

func TestObservedStateOfAUnitOnDemand(t *testing.T) {
	for active, want := range map[string]string{
		"inactive": "onDemand", "activating": "onDemand", "active": "onDemand", "deactivating": "onDemand", "failed": "failed",
	} {
		if got := observedState("onDemand", &agentpb.UnitState{ActiveState: active}); got != want {
			t.Errorf("%s is shown as %q, want %q", active, got, want)
		}
	}
}
