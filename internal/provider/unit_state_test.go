package provider

import (
	"testing"

	"github.com/google/go-cmp/cmp"

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

func TestRuntimeProperties(t *testing.T) {
	others, properties := runtimeProperties(map[string]string{
		"/etc/systemd/system/a.service.d/x.conf":                  "[Service]\nNice=1\n",
		"/run/systemd/system.control/a.service.d/50-CPU.conf":     "[Service]\nCPUQuota=50%\nMemoryMax=2G\n",
		"/etc/systemd/system.control/a.service.d/50-Memory.conf":  "[Service]\nMemoryMax=1G\n",
		"/etc/systemd/system.control/a.service.d/50-Allow.conf":   "[Service]\nIPAddressAllow=\nIPAddressAllow=10.0.0.1/32\nIPAddressAllow=10.0.0.2/32\n",
		"/etc/systemd/system.control/a.service.d/50-garbage.conf": "garbage",
	})
	want := map[string]string{"CPUQuota": "50% (until the next boot)", "MemoryMax": "1G", "IPAddressAllow": "10.0.0.1/32 10.0.0.2/32"}
	if diff := cmp.Diff(want, properties); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(others) != 2 || others["/etc/systemd/system.control/a.service.d/50-garbage.conf"] == "" {
		t.Errorf("others: %q", others)
	}
}
