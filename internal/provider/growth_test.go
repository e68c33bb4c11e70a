package provider_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// fixture is a resource's state as some version of llmhost has written it.
type fixture struct {
	Inputs, Outputs map[string]any
}

func loadFixture(t *testing.T, name string) fixture {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "state", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var f fixture
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// place puts a fixture into the stack, for a unit that is on the host.
func (s *stack) place(t *testing.T, agent *fakeAgent, f fixture) {
	t.Helper()
	delete(s.states, "a")
	s.mustUp("SystemdUnit", "a", unitInputs(), "create")
	saved := s.states["a"]
	generation := saved.outputs["generation"]
	saved.inputs = resource.NewPropertyMapFromMap(f.Inputs)
	saved.outputs = resource.NewPropertyMapFromMap(f.Outputs)
	if _, ok := saved.outputs["generation"]; ok {
		saved.outputs["generation"] = generation
	}
}

// Every operation works on a state that lacks what this version has added, and on one that
// has more than this version knows, in nested objects too.
func TestStateOfOtherVersions(t *testing.T) {
	for _, name := range []string{"unit-older", "unit-same-minor-newer-patch"} {
		t.Run(name, func(t *testing.T) {
			agent := newFakeAgent()
			agent.readiness["llmhost-a.service"] = []*agentpb.ReadyEvent{{Done: true, Ready: true}}
			in := with(unitInputs(), "readiness", readiness())
			s := newStack(t, connectTo(t, agent))
			s.place(t, agent, loadFixture(t, name))
			if got := s.drift("a"); got != nil {
				t.Errorf("drift after an upgrade: %v", got)
			}
			s.mustUp("SystemdUnit", "a", in, "same")
			s.mustUp("SystemdUnit", "a", with(in, "enabled", boolean(false)), "update")
			s.place(t, agent, loadFixture(t, name))
			s.refresh("a")
			s.destroy("a")
		})
	}
}

func TestStateOfANewerVersionIsRefused(t *testing.T) {
	agent := newFakeAgent()
	s := newStack(t, connectTo(t, agent))
	s.place(t, agent, loadFixture(t, "unit-newer"))
	old := s.states["a"]
	_, diffErr := s.provider.Diff(t.Context(), plugin.DiffRequest{
		URN: old.urn, ID: old.id, OldInputs: old.inputs, OldOutputs: old.outputs, NewInputs: old.inputs})
	_, readErr := s.read("a")
	_, updateErr := s.provider.Update(t.Context(), plugin.UpdateRequest{
		URN: old.urn, ID: old.id, OldInputs: old.inputs, OldOutputs: old.outputs, NewInputs: old.inputs})
	for operation, err := range map[string]error{"diff": diffErr, "read": readErr, "update": updateErr, "delete": s.delete(old)} {
		if err == nil || !strings.Contains(err.Error(), "llmhost 99.1.0") || !strings.Contains(err.Error(), "use llmhost 99.1 or newer") {
			t.Errorf("%s: want a refusal that names both versions, got %v", operation, err)
		}
	}
	if agent.units["llmhost-a.service"] == nil {
		t.Error("the refused deletion has removed the unit")
	}
}

func TestStateNamesItsVersion(t *testing.T) {
	s := newStack(t, connectTo(t, newFakeAgent()))
	saved := s.mustUp("SystemUser", "a", userInputs(), "create")
	if got := saved.outputs["providerVersion"]; !got.IsString() || got.StringValue() == "" {
		t.Errorf("providerVersion is %v", got)
	}
}
