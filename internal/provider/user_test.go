package provider_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

func userInputs(groups ...string) resource.PropertyMap {
	in := resource.PropertyMap{"name": str("llm-a")}
	if groups != nil {
		list := []resource.PropertyValue{}
		for _, g := range groups {
			list = append(list, str(g))
		}
		in["groups"] = resource.NewProperty(list)
	}
	return in
}

func TestUserLifecycle(t *testing.T) {
	agent := newFakeAgent()
	s := newStack(t, connectTo(t, agent))
	s.mustUp("SystemUser", "a", userInputs("video", "render"), "create")
	want := &agentpb.UserState{Home: "/nonexistent", Shell: "/usr/sbin/nologin", Groups: []string{"render", "video"}}
	got := agent.users["llm-a"]
	if got.GetHome() != want.GetHome() || got.GetShell() != want.GetShell() || !cmp.Equal(got.GetGroups(), want.GetGroups()) {
		t.Errorf("created %v, want %v", got, want)
	}
	s.mustUp("SystemUser", "a", userInputs("render", "video"), "same") // a set has no order
	if got := s.drift("a"); got != nil {
		t.Errorf("drift of an untouched user: %v", got)
	}
	s.mustUp("SystemUser", "a", userInputs("render"), "update")
	s.destroy("a")
	if len(agent.users) != 0 {
		t.Error("the user is still there after destroy")
	}
}

func TestUserDrift(t *testing.T) {
	for name, test := range map[string]struct {
		change func(u *agentpb.UserState)
		want   []string
	}{
		"shell":      {func(u *agentpb.UserState) { u.Shell = "/bin/bash" }, []string{"shell"}},
		"home":       {func(u *agentpb.UserState) { u.Home = "/home/a" }, []string{"home"}},
		"comment":    {func(u *agentpb.UserState) { u.Comment = "me" }, []string{"comment"}},
		"a password": {func(u *agentpb.UserState) { u.Locked = false }, []string{"locked"}},
		"groups":     {func(u *agentpb.UserState) { u.Groups = []string{"sudo"} }, []string{"groups"}},
	} {
		t.Run(name, func(t *testing.T) {
			agent := newFakeAgent()
			s := newStack(t, connectTo(t, agent))
			s.mustUp("SystemUser", "a", userInputs(), "create")
			test.change(agent.users["llm-a"])
			if diff := cmp.Diff(test.want, topLevel(s.drift("a"))); diff != "" {
				t.Errorf("drift (-want +got):\n%s", diff)
			}
			s.refresh("a")
			s.mustUp("SystemUser", "a", userInputs(), "update")
			if got := s.drift("a"); got != nil {
				t.Errorf("drift after the repair: %v", got)
			}
		})
	}
}

func TestUserThatIsGoneIsCreatedAgain(t *testing.T) {
	agent := newFakeAgent()
	s := newStack(t, connectTo(t, agent))
	s.mustUp("SystemUser", "a", userInputs(), "create")
	delete(agent.users, "llm-a")
	if diff := cmp.Diff([]string{"gone"}, s.drift("a")); diff != "" {
		t.Error(diff)
	}
}

func TestForeignUserIsRefusedUnlessAdopted(t *testing.T) {
	agent := newFakeAgent()
	agent.users["llm-a"] = &agentpb.UserState{Exists: true, Shell: "/bin/bash"}
	s := newStack(t, connectTo(t, agent))
	_, err := s.up("SystemUser", "a", userInputs())
	if err == nil || !strings.Contains(err.Error(), "SystemUser llm-a: ") || !strings.Contains(err.Error(), "isn't llmhost's") {
		t.Fatalf("a foreign user was not refused plainly: %v", err)
	}
	if agent.users["llm-a"].GetShell() != "/bin/bash" {
		t.Error("the refused user was changed")
	}
	if s.states["a"] != nil {
		t.Error("the refused user came into the state")
	}
	s.mustUp("SystemUser", "a", with(userInputs(), "adopt", boolean(true)), "create")
}

// What waits for its deletion after a replacement of the same ID must not remove the
// replacement, also when the run was cut off there and the state was refreshed before the next.
func TestStaleDeletionKeepsTheReplacement(t *testing.T) {
	agent := newFakeAgent()
	s := newStack(t, connectTo(t, agent))
	s.mustUp("SystemUser", "a", userInputs(), "create")
	waiting := s.states["a"]
	delete(s.states, "a")
	replacement := s.mustUp("SystemUser", "a", userInputs(), "create")
	s.states["a"] = waiting
	s.refresh("a")
	s.destroy("a")
	if agent.users["llm-a"] == nil {
		t.Fatal("the deletion of the old user has removed the new one")
	}
	if !strings.Contains(s.log.text(), "WARNING: SystemUser llm-a was left on the host") {
		t.Errorf("no word about it:\n%s", s.log.text())
	}
	s.states["a"] = replacement
	s.destroy("a")
	if agent.users["llm-a"] != nil {
		t.Error("the replacement can't be destroyed")
	}
}

// A state that was restored from an old backup is refused until a refresh has shown it what
// the host has, and is then as good as any.
func TestRestoredStateGoesOnAfterARefresh(t *testing.T) {
	agent := newFakeAgent()
	s := newStack(t, connectTo(t, agent))
	s.mustUp("SystemUser", "a", userInputs(), "create")
	backup := s.states["a"]
	delete(s.states, "a")
	s.mustUp("SystemUser", "a", userInputs(), "create")
	s.states["a"] = backup
	if _, err := s.up("SystemUser", "a", userInputs("video")); err == nil || !strings.Contains(err.Error(), "has another generation") {
		t.Errorf("an old copy of the state was not refused: %v", err)
	}
	s.refresh("a")
	s.mustUp("SystemUser", "a", userInputs("video"), "update")
	s.destroy("a")
	if agent.users["llm-a"] != nil {
		t.Error("the user is still there after destroy")
	}
}

// A creation that fails after its claim was written is half a success: the next run goes on
// with it, and a destroy in place of it clears the claim.
func TestFailedCreationIsNotForgotten(t *testing.T) {
	for _, next := range []string{"up", "destroy"} {
		t.Run(next, func(t *testing.T) {
			agent := newFakeAgent()
			agent.failUser = refuse(agentpb.Reason_NO_SPACE, "/etc is full", nil)
			s := newStack(t, connectTo(t, agent))
			_, err := s.up("SystemUser", "a", userInputs())
			var half *plugin.InitError
			if !errors.As(err, &half) || !strings.Contains(err.Error(), "/etc is full") {
				t.Fatalf("want half a success with its reason, got %v", err)
			}
			agent.failUser = nil
			if next == "up" {
				s.mustUp("SystemUser", "a", userInputs(), "update")
				if agent.users["llm-a"] == nil {
					t.Error("the next run has not made the user")
				}
			}
			s.destroy("a")
			if len(agent.users) != 0 || len(agent.ledger) != 0 {
				t.Errorf("left on the host: %v %v", agent.users, agent.ledger)
			}
		})
	}
}

// A resource of another stack that claims the same user is refused by name.
func TestTwoOwners(t *testing.T) {
	s := newStack(t, connectTo(t, newFakeAgent()))
	s.mustUp("SystemUser", "a", userInputs(), "create")
	_, err := s.up("SystemUser", "b", userInputs())
	if err == nil || !strings.Contains(err.Error(), "belongs to") {
		t.Errorf("a second owner was not refused: %v", err)
	}
}
