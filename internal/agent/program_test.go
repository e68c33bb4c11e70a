package agent_test

import (
	"os"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

func (c *client) observeProgram(path string) *agentpb.ProgramState {
	c.t.Helper()
	seen, err := c.ObserveProgram(c.t.Context(), &agentpb.ObserveProgramRequest{Path: path})
	if err != nil {
		c.t.Fatal(err)
	}
	return seen
}

func TestProgramIsInstalledRepairedAndRemoved(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("lib/llmhost/llmhost-agent")
	if c.observeProgram(path).GetExists() {
		t.Fatal("it is there before it was put")
	}
	req := &agentpb.PutProgramRequest{Claim: claim("Program", path)}
	put := func() bool {
		t.Helper()
		resp, err := c.PutProgram(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		req.Claim.Generation = resp.GetGeneration()
		return resp.GetChanged()
	}
	if !put() || put() {
		t.Error("the first put changes the host and the second doesn't")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if seen := c.observeProgram(path); !seen.GetCurrent() || seen.GetMode() != 0o755 || seen.GetSha256() != sum(self) || !seen.GetOwned().GetComplete() {
		t.Errorf("seen: %v", seen)
	}

	// An older llmhost's program, or one that somebody has changed, is replaced, and a unit that
	// runs it isn't disturbed: its file stays as it is until it ends.
	if err := os.WriteFile(path, []byte("another program"), 0o755); err != nil {
		t.Fatal(err)
	}
	running, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	if seen := c.observeProgram(path); seen.GetCurrent() || seen.GetSha256() != sum([]byte("another program")) {
		t.Errorf("seen: %v", seen)
	}
	if !put() || !c.observeProgram(path).GetCurrent() {
		t.Error("it was not replaced")
	}
	is, err := running.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if is.Size() != int64(len("another program")) {
		t.Error("the old program was written to, and not replaced")
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	if !put() || c.observeProgram(path).GetMode() != 0o755 {
		t.Error("everybody may still change it")
	}

	if gone := c.mustRemove(req.GetClaim(), req.GetClaim().GetGeneration()); !gone.GetRemoved() || exists(h.path("lib")) {
		t.Errorf("removed: %v", gone)
	}
}

func TestForeignProgramIsRefused(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	mustWrite(t, h.path("theirs"), "theirs")
	_, err := c.PutProgram(t.Context(), &agentpb.PutProgramRequest{Claim: claim("Program", h.path("theirs"))})
	wantReason(t, err, agentpb.Reason_NOT_OWNED)
	if err := os.Symlink(h.path("theirs"), h.path("link")); err != nil {
		t.Fatal(err)
	}
	c2 := claim("Program", h.path("link"))
	c2.Adopt = true
	_, err = c.PutProgram(t.Context(), &agentpb.PutProgramRequest{Claim: c2})
	wantReason(t, err, agentpb.Reason_WRONG_TYPE)
	if mustRead(t, h.path("theirs")) != "theirs" {
		t.Error("a link in its place was followed")
	}
	if seen := c.observeProgram(h.path("link")); !seen.GetExists() || seen.GetCurrent() {
		t.Errorf("seen: %v", seen)
	}
}
