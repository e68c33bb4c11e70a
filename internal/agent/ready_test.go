package agent

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/systemd"
)

// await returns the final event and the lines of progress before it.
func (h *unitHost) await(address string, seconds uint32, each func(progress string)) (final *agentpb.ReadyEvent, err error) {
	h.t.Helper()
	stream, err := h.AwaitReady(h.t.Context(), &agentpb.AwaitReadyRequest{
		Unit: "x.service", Readiness: &agentpb.Readiness{Address: address, Model: "tiny", TimeoutSeconds: seconds},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the stream has ended without a final event")
		}
		if err != nil || event.GetDone() {
			return event, err
		}
		if each != nil {
			each(event.GetProgress())
		}
	}
}

// modelServer answers once it has been asked often enough.
func modelServer(t *testing.T, loading int32) (address string) {
	t.Helper()
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) <= loading {
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, `{"error":{"message":"Loading model"}}`)
			return
		}
		io.WriteString(w, `{"choices":[{}]}`)
	}))
	t.Cleanup(s.Close)
	return "tcp:" + s.Listener.Addr().String()
}

func (h *unitHost) set(s systemd.State) {
	h.systemd.mu.Lock()
	defer h.systemd.mu.Unlock()
	h.systemd.states["x.service"] = &s
}

func TestReadyWhenTheServerHasAnswered(t *testing.T) {
	h := newUnitHost(t)
	h.set(systemd.State{Active: "activating", Sub: "start"})
	var said []string
	final, err := h.await(modelServer(t, 1), 60, func(progress string) {
		said = append(said, progress)
		h.set(systemd.State{Active: "active", Sub: "running"})
	})
	if err != nil || !final.GetReady() || len(final.GetReasons()) != 0 {
		t.Errorf("final: %v, %v", final, err)
	}
	all := strings.Join(said, "\n")
	if !strings.Contains(all, "activating") || !strings.Contains(all, "Loading model") {
		t.Errorf("progress: %q", said)
	}
}

func TestWaitingEndsWhenThereIsNothingToWaitFor(t *testing.T) {
	for name, test := range map[string]struct {
		then systemd.State
		want string
	}{
		"failed":          {systemd.State{Active: "failed", Result: "oom-kill"}, "oom-kill"},
		"stopped":         {systemd.State{Active: "inactive"}, "not running"},
		"crashing always": {systemd.State{Active: "active", Restarts: 10 + hopeless}, "started again 3 times"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newUnitHost(t)
			h.set(systemd.State{Active: "active", Restarts: 10})
			final, err := h.await("tcp:127.0.0.1:1", 600, func(string) { h.set(test.then) })
			if err != nil || final.GetReady() {
				t.Fatalf("final: %v, %v", final, err)
			}
			reasons := strings.Join(final.GetReasons(), "\n")
			if !strings.Contains(reasons, test.want) || !strings.Contains(reasons, "last words of x.service") {
				t.Errorf("reasons: %q", reasons)
			}
		})
	}
}

func TestWaitingEndsInTime(t *testing.T) {
	h := newUnitHost(t)
	h.set(systemd.State{Active: "active"})
	final, err := h.await(modelServer(t, 1_000_000), 1, nil)
	if err != nil || final.GetReady() || !strings.Contains(strings.Join(final.GetReasons(), "\n"), "not answered within 1s") {
		t.Errorf("final: %v, %v", final, err)
	}
}

func TestObservingAsksAServerThatRuns(t *testing.T) {
	h := newUnitHost(t)
	for name, test := range map[string]struct {
		active, address string
		asked, answered bool
	}{
		"running":      {"active", modelServer(t, 0), true, true},
		"loading":      {"active", modelServer(t, 1), true, false},
		"gone":         {"active", "tcp:127.0.0.1:1", true, false},
		"stopped":      {"inactive", modelServer(t, 0), false, false},
		"not for asks": {"active", "tcp:192.0.2.1:80", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			h.set(systemd.State{Active: test.active})
			seen, err := h.ObserveUnit(t.Context(), &agentpb.ObserveUnitRequest{
				Name: "x.service", Readiness: &agentpb.Readiness{Address: test.address, Model: "tiny", TimeoutSeconds: 20},
			})
			if err != nil || seen.GetAsked() != test.asked || seen.GetAnswered() != test.answered || (test.asked && !test.answered) != (seen.GetAnswerError() != "") {
				t.Errorf("seen: %v, %v", seen, err)
			}
		})
	}
}
