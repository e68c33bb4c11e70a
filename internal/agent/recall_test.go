package agent_test

import (
	"os"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// What was placed is remembered; of what somebody has touched since, a recall says its size alone.
func TestRecallReadsNothing(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("m.gguf")
	header := modelHeader(path, weights)
	if _, err := c.pushModel(header, weights); err != nil {
		t.Fatal(err)
	}
	recall := func() *agentpb.ModelState {
		t.Helper()
		state, err := c.ObserveModel(t.Context(), &agentpb.ObserveModelRequest{Path: path, Recall: true})
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	if got := recall(); got.GetSha256() != header.GetSha256() {
		t.Errorf("after it was placed: %v", got)
	}
	if err := os.WriteFile(path, weights[1:], 0o600); err != nil {
		t.Fatal(err)
	}
	if got := recall(); !got.GetExists() || got.GetSha256() != "" || got.GetSize() != uint64(len(weights)-1) {
		t.Errorf("after it was touched: %v", got)
	}
}
