package agent_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/watch"
)

// After the last removal nothing of llmhost is left, the agent's own folder included.
func TestNothingIsLeftAfterTheLastRemoval(t *testing.T) {
	h := newHost(t)
	own := filepath.Join(h.stateDir(), "agent", strings.Repeat("0a", 32), "llmhost-agent")
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	metrics := filepath.Join(h.stateDir(), "metrics", watch.MetricsFile)
	if err := os.MkdirAll(filepath.Dir(metrics), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(metrics, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	there := func() bool {
		_, err := os.Stat(h.stateDir())
		return !errors.Is(err, fs.ErrNotExist)
	}

	c := h.connectToChange("one")
	first := c.mustPutFile(file(h.path("first"), "1"))
	second := c.mustPutFile(file(h.path("second"), "2"))
	c.mustRemove(claim("File", h.path("first")), first.GetGeneration())
	if err := c.ends(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(own); err != nil {
		t.Fatalf("something of ours is still on the host, and the agent is gone: %v", err)
	}

	c = h.connectToChange("two")
	waiting := h.connect() // knows the folder and changes something only after it has gone
	c.mustRemove(claim("File", h.path("second")), second.GetGeneration())
	if err := c.ends(); err != nil {
		t.Fatal(err)
	}
	if there() {
		left, _ := os.ReadDir(h.stateDir())
		t.Fatalf("left in the state folder: %v", left)
	}
	if err := waiting.lease("three", 0); err != nil {
		t.Fatal(err)
	}
	waiting.mustPutFile(file(h.path("third"), "3"))
	if owned := waiting.mustListOwned(); len(owned) != 1 {
		t.Errorf("the ledger has %v", owned)
	}
}

// A state folder that is not llmhost's alone keeps what is not llmhost's, whatever its name.
func TestWhatIsNotOursIsLeft(t *testing.T) {
	h := newHost(t)
	theirs := []string{"engines/diesel", "agent/smith/notes", "digests/daily", "owned/house", "notes"}
	for _, file := range theirs {
		mustWrite(t, filepath.Join(h.stateDir(), file), "theirs")
	}
	mustWrite(t, filepath.Join(h.stateDir(), "agent", strings.Repeat("0a", 32), "llmhost-agent"), "")
	mustWrite(t, filepath.Join(h.stateDir(), "verify-123/x.service"), "") // of a killed agent
	c := h.connectToChange("s")
	header := engineHeader(h.path("engines"), engine())
	put, err := c.pushEngine(header, engine())
	if err != nil {
		t.Fatal(err)
	}
	c.mustRemove(header.Claim, put.GetGeneration())
	if err := c.ends(); err != nil {
		t.Fatal(err)
	}
	var left []string
	err = filepath.WalkDir(h.stateDir(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, strings.TrimPrefix(path, h.stateDir()+"/"))
		}
		return err
	})
	slices.Sort(theirs)
	if err != nil || !slices.Equal(left, theirs) {
		t.Errorf("left: %q, %v", left, err)
	}
}
