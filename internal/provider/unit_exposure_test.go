package provider_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// A unit that gets worse shows by its score: in a preview when its text is to change, and as drift
// when somebody has loosened it on the host.
func TestExposureShowsWhatGetsWorse(t *testing.T) {
	const tight = unitText + "\n[Service]\nPrivateNetwork=yes\nNoNewPrivileges=yes\n"
	agent := newFakeAgent()
	s := newStack(t, connectTo(t, agent))
	s.mustUp("SystemdUnit", "a", with(unitInputs(), "content", str(tight)), "create")
	before := s.states["a"].outputs["exposure"].NumberValue()
	agent.units["llmhost-a.service"].DropIns = map[string]string{
		"/run/systemd/system/llmhost-a.service.d/x.conf": "[Service]\nPrivateNetwork=no\n",
	}
	if diff := cmp.Diff([]string{"dropIns", "exposure"}, topLevel(s.drift("a"))); diff != "" {
		t.Errorf("drift of a unit that a drop-in has loosened (-want +got):\n%s", diff)
	}
	s.refresh("a")
	s.mustUp("SystemdUnit", "a", with(unitInputs(), "content", str(unitText)), "update")
	if after := s.states["a"].outputs["exposure"].NumberValue(); after <= before {
		t.Errorf("the score went from %v to %v", before, after)
	}
}

func TestExposureIsComputedAndNotGiven(t *testing.T) {
	s := newStack(t, connectTo(t, newFakeAgent()))
	if _, err := s.up("SystemdUnit", "a", with(unitInputs(), "exposure", resource.NewProperty(0.1))); err == nil {
		t.Error("a made-up score was accepted")
	}
}
