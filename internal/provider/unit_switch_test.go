package provider_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

const switched = "llmhost-a.service"

var answers = []*agentpb.ReadyEvent{{Done: true, Ready: true}}

// deployed is a stack with a unit whose server answers, and the inputs of its next version.
func deployed(t *testing.T) (s *stack, agent *fakeAgent, first, second resource.PropertyMap) {
	t.Helper()
	agent = newFakeAgent()
	agent.readiness[switched] = answers
	s = newStack(t, connectTo(t, agent))
	first = with(unitInputs(), "readiness", readiness())
	s.mustUp("SystemdUnit", "a", first, "create")
	return s, agent, first, with(first, "content", str(first["content"].StringValue()+"# second\nNice=7\n"))
}

// A version that doesn't work gives way to the one before: the update fails, says both, and the
// state has what is on the host, so that the next run tries the new one again.
func TestUnitThatDoesNotWorkGivesWayToTheOldOne(t *testing.T) {
	for what, test := range map[string]struct {
		breakIt func(a *fakeAgent)
		state   string
		want    []string // in the reasons
	}{
		"systemd can't start the new one": {
			func(a *fakeAgent) { a.failStart[switched], a.readyAfterRollback = "bad argument", answers },
			"running", []string{"was put back: it answers again", "bad argument"}},
		"the new one fails at once": {
			func(a *fakeAgent) {
				a.failsLater[switched], a.readyAfterRollback = []string{"cannot open the model"}, answers
			},
			"running", []string{"was put back: it answers again", "cannot open the model"}},
		"the new one doesn't answer": {
			func(a *fakeAgent) {
				a.readiness[switched] = []*agentpb.ReadyEvent{{Done: true, Reasons: []string{"no answer within 300 s"}}}
				a.readyAfterRollback = answers
			},
			"running", []string{"was put back: it answers again", "no answer within 300 s"}},
		"nor does the old one": {
			func(a *fakeAgent) {
				a.readiness[switched] = []*agentpb.ReadyEvent{{Done: true, Reasons: []string{"no answer within 300 s"}}}
				a.readyAfterRollback = []*agentpb.ReadyEvent{{Done: true, Reasons: []string{"the model is damaged"}}}
			},
			"not ready", []string{"was put back: it doesn't answer either: the model is damaged", "no answer within 300 s"}},
		"the old one can't be started": {
			func(a *fakeAgent) { a.failStart[switched], a.failOld = "bad argument", "no such user" },
			"failed", []string{"was put back: it could not be started either: no such user", "bad argument"}},
	} {
		t.Run(what, func(t *testing.T) {
			s, agent, first, second := deployed(t)
			test.breakIt(agent)
			_, err := s.up("SystemdUnit", "a", second)
			var half *plugin.InitError
			if !errors.As(err, &half) {
				t.Fatalf("want half a success, got %v", err)
			}
			reasons := strings.Join(half.Reasons, "\n")
			for _, want := range test.want {
				if !strings.Contains(reasons, want) {
					t.Errorf("reasons %q lack %q", reasons, want)
				}
			}
			saved := s.states["a"]
			if got := saved.outputs["content"]; !got.DeepEquals(first["content"]) {
				t.Errorf("the state has the text %v", got)
			}
			if got := saved.outputs["state"].StringValue(); got != test.state {
				t.Errorf("the state is %q, want %q", got, test.state)
			}
			delete(agent.failStart, switched)
			delete(agent.failsLater, switched)
			agent.readiness[switched] = answers
			again := s.mustUp("SystemdUnit", "a", second, "update")
			if !again.outputs["content"].DeepEquals(second["content"]) || len(again.initErrors) > 0 || len(agent.previous) > 0 {
				t.Errorf("the next run: %v with %v", again.outputs["content"], again.initErrors)
			}
		})
	}
}

func TestUnitStaysWhereNothingIsToComeBack(t *testing.T) {
	for what, change := range map[string]func(in resource.PropertyMap) resource.PropertyMap{
		"it isn't wanted": func(in resource.PropertyMap) resource.PropertyMap { return with(in, "rollback", boolean(false)) },
		"only what the unit uses has changed": func(in resource.PropertyMap) resource.PropertyMap {
			return with(with(unitInputs(), "readiness", readiness()), "restartOn", resource.NewProperty(resource.PropertyMap{"model": str("two")}))
		},
	} {
		t.Run(what, func(t *testing.T) {
			s, agent, _, second := deployed(t)
			agent.readiness[switched] = []*agentpb.ReadyEvent{{Done: true, Reasons: []string{"no answer"}}}
			in := change(second)
			_, err := s.up("SystemdUnit", "a", in)
			var half *plugin.InitError
			if !errors.As(err, &half) || strings.Contains(err.Error(), "before was put back") {
				t.Fatalf("got %v", err)
			}
			if got := agent.units[switched].GetContent(); got != in["content"].StringValue() {
				t.Errorf("the host has %q", got)
			}
			if got := s.states["a"].outputs["state"].StringValue(); got != "not ready" {
				t.Errorf("the state is %q", got)
			}
		})
	}
}

// When nobody can say whether the new version works, it stays, and so does the way back: the next
// run asks again and goes back if it has to.
func TestSwitchThatWasCutOffIsGoneOnWith(t *testing.T) {
	s, agent, first, second := deployed(t)
	agent.waitEnds = status.Error(codes.Unavailable, "the connection to the host was lost")
	agent.readiness[switched] = nil
	if _, err := s.up("SystemdUnit", "a", second); err == nil || strings.Contains(err.Error(), "put back") {
		t.Fatalf("got %v", err)
	}
	if got := agent.units[switched].GetContent(); got != second["content"].StringValue() || agent.previous[switched] == nil {
		t.Fatalf("the host has %q, and keeps %v", got, agent.previous)
	}
	agent.waitEnds, agent.readyAfterRollback = nil, answers
	agent.readiness[switched] = []*agentpb.ReadyEvent{{Done: true, Reasons: []string{"no answer"}}}
	if _, err := s.up("SystemdUnit", "a", second); err == nil || !strings.Contains(err.Error(), "was put back: it answers again") {
		t.Fatalf("got %v", err)
	}
	if got := agent.units[switched].GetContent(); got != first["content"].StringValue() {
		t.Errorf("the host has %q", got)
	}
}
