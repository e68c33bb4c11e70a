package agent

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/systemd"
)

// group installs x.service, which runs, and y.service, which waits for its turn.
func (h *unitHost) group() {
	h.t.Helper()
	if _, err := h.PutUnit(h.t.Context(), request()); err != nil {
		h.t.Fatal(err)
	}
	y := proto.Clone(request()).(*agentpb.PutUnitRequest)
	y.Claim.Id, y.Claim.Urn = "y.service", "urn-y"
	y.Enabled, y.Running, y.OnDemand = false, false, true
	if _, err := h.PutUnit(h.t.Context(), y); err != nil {
		h.t.Fatal(err)
	}
	h.systemd.jobs()
}

func (h *unitHost) switchTo(unit, other, address string) (*agentpb.ReadyEvent, error) {
	h.t.Helper()
	stream, err := h.SwitchUnit(h.t.Context(), &agentpb.SwitchUnitRequest{
		Unit: unit, Others: []string{other}, Readiness: &agentpb.Readiness{Address: address, Model: "tiny", TimeoutSeconds: 1},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	for {
		event, err := stream.Recv()
		if err != nil || event.GetDone() {
			return event, err
		}
	}
}

func TestTurnStartsTheOther(t *testing.T) {
	h := newUnitHost(t)
	h.group()
	final, err := h.switchTo("y.service", "x.service", modelServer(t, 0))
	if err != nil || !final.GetReady() {
		t.Fatalf("final: %v, %v", final, err)
	}
	if jobs := h.systemd.jobs(); !slices.Equal(jobs, []string{"start y.service"}) {
		t.Errorf("systemd was asked for %q", jobs)
	}
}

// A server that never answers gives its place back to the one that ran before.
func TestTurnGoesBack(t *testing.T) {
	h := newUnitHost(t)
	h.group()
	mute := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer mute.Close()
	final, err := h.switchTo("y.service", "x.service", "tcp:"+mute.Listener.Addr().String())
	if err != nil || final.GetReady() {
		t.Fatalf("final: %v, %v", final, err)
	}
	if said := strings.Join(final.GetReasons(), "\n"); !strings.Contains(said, "y.service has not answered within 1s") || !strings.Contains(said, "x.service runs again, as before") {
		t.Errorf("reasons: %q", said)
	}
	if jobs := h.systemd.jobs(); !slices.Equal(jobs, []string{"start y.service", "stop y.service", "start x.service"}) {
		t.Errorf("systemd was asked for %q", jobs)
	}
}

func TestTurnTouchesOwnUnitsAlone(t *testing.T) {
	h := newUnitHost(t)
	h.group()
	h.systemd.mu.Lock()
	h.systemd.states["ssh.service"] = &systemd.State{Load: "loaded", Active: "active", Sub: "running"}
	h.systemd.mu.Unlock()
	for _, pair := range [][2]string{{"x.service", "ssh.service"}, {"ssh.service", "x.service"}, {"../x.service", "y.service"}} {
		if final, err := h.switchTo(pair[0], pair[1], "tcp:127.0.0.1:1"); err == nil {
			t.Errorf("a switch from %s to %s was done: %v", pair[1], pair[0], final)
		}
	}
	if jobs := h.systemd.jobs(); len(jobs) > 0 {
		t.Errorf("systemd was asked for %q", jobs)
	}
}
