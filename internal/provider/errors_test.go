package provider_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/provider"
	"github.com/llmhost/llmhost/internal/remote"
)

// brokenAgent answers every question about a user with one error.
type brokenAgent struct {
	agentpb.UnimplementedAgentServer
	err error
}

func (b brokenAgent) ObserveUser(context.Context, *agentpb.ObserveUserRequest) (*agentpb.UserState, error) {
	return nil, b.err
}

func TestUnreachableIsNeverGone(t *testing.T) {
	var down bool
	h := connectTo(t, newFakeAgent())
	s := newStackWith(t, func(context.Context, remote.Target) (provider.Host, error) {
		if down {
			return nil, errors.New("desktop can't be reached: connection refused; is it switched on?")
		}
		return h, nil
	})
	s.mustUp("SystemUser", "a", userInputs(), "create")
	down = true
	_, err := s.read("a")
	if err == nil || !strings.Contains(err.Error(), "SystemUser llm-a: desktop can't be reached") {
		t.Errorf("read of a host that is off: %v", err)
	}
	if err := s.delete(s.states["a"]); err == nil {
		t.Error("a deletion that didn't reach the host has succeeded")
	}
}

func TestErrorsNameTheResource(t *testing.T) {
	s := newStack(t, connectTo(t, newFakeAgent()))
	s.mustUp("SystemUser", "a", userInputs(), "create")
	broken := newStack(t, connectTo(t, brokenAgent{err: refuse(agentpb.Reason_NO_SPACE, "the disk is full", map[string]string{"hint": "free some space"})}))
	broken.states = s.states
	_, err := broken.read("a")
	if want := "SystemUser llm-a: the disk is full; free some space"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
