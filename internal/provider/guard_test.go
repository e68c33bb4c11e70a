package provider_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// fakeGuard is an agent whose changes wait for a confirmation if they are to.
type fakeGuard struct {
	*fakeAgent
	guarded map[string]bool // by path
	outcome string
	why     string
}

func newFakeGuard() *fakeGuard {
	return &fakeGuard{fakeAgent: newFakeAgent(), guarded: map[string]bool{}}
}

func (f *fakeGuard) PutFile(_ context.Context, req *agentpb.PutFileRequest) (*agentpb.ChangeResponse, error) {
	f.guarded[req.GetClaim().GetId()] = req.GetGuard() != nil
	resp := &agentpb.ChangeResponse{Generation: 7, Changed: true}
	if req.GetGuard() != nil {
		resp.Guarded = &agentpb.Guarded{Id: "a", Seconds: 60}
	}
	return resp, nil
}

func (f *fakeGuard) Confirm(context.Context, *agentpb.ConfirmRequest) (*agentpb.GuardState, error) {
	f.outcome = "confirmed"
	return &agentpb.GuardState{Outcome: f.outcome}, nil
}

func (f *fakeGuard) Undo(_ context.Context, req *agentpb.UndoRequest) (*agentpb.GuardState, error) {
	f.outcome, f.why = "undone", req.GetWhy()
	return &agentpb.GuardState{Outcome: f.outcome, Why: f.why}, nil
}

// What could lock the user out is guarded by itself, and everything can be said otherwise.
func TestWhichFilesAreGuarded(t *testing.T) {
	agent := newFakeGuard()
	s := newStack(t, connectTo(t, agent))
	want := map[string]bool{}
	for path, guarded := range map[string]bool{
		"/etc/ssh/sshd_config": true, "/etc/ssh/sshd_config.d/x.conf": true, "/etc/netplan/a.yaml": true, "/etc/systemd/network/a.network": true,
		"/etc/NetworkManager/conf.d/a.conf": true, "/etc/network/interfaces": true, "/etc/nftables.conf": true, "/etc/hosts.deny": true,
		"/etc/sudoers.d/ops": true, "/etc/sshx": false, "/etc/motd": false, "/etc/systemd/networkd.conf": false,
	} {
		for _, said := range []*bool{nil, new(true), new(false)} {
			in := resource.PropertyMap{"path": str(path), "content": str("x")}
			want[path] = guarded
			if said != nil {
				in["guard"], want[path] = boolean(*said), *said
			}
			delete(s.states, "a")
			s.mustUp("File", "a", in, "create")
			if diff := cmp.Diff(want, agent.guarded); diff != "" {
				t.Errorf("guarded (-want +got):\n%s", diff)
			}
		}
	}
}

func TestAGuardedChangeIsConfirmedOverANewConnection(t *testing.T) {
	agent := newFakeGuard()
	h := connectTo(t, agent)
	s := newStack(t, h)
	in := resource.PropertyMap{"path": str("/etc/ssh/a"), "content": str("x")}
	s.mustUp("File", "a", in, "create")
	if agent.outcome != "confirmed" {
		t.Errorf("the outcome is %q", agent.outcome)
	}

	h.unreachable = errors.New("connection refused")
	_, err := s.up("File", "b", with(in, "path", str("/etc/ssh/b")))
	if err == nil || !strings.Contains(err.Error(), "was undone and the host is as it was") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("the error is %v", err)
	}
	if agent.outcome != "undone" || !strings.Contains(agent.why, "connection refused") {
		t.Errorf("the agent was told %q, %q", agent.outcome, agent.why)
	}
	if s.states["b"] != nil {
		t.Error("a creation that was undone is in the state")
	}
	before := s.states["a"].outputs["content"]
	if _, err := s.up("File", "a", with(in, "content", str("y"))); err == nil {
		t.Error("an update that was undone is no error")
	}
	if now := s.states["a"].outputs["content"]; now != before {
		t.Errorf("the state says %v after an update that was undone", now)
	}
}
