package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/ledger"
)

func TestForeignFileIsRefusedAndCanBeAdopted(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("config")
	mustWrite(t, path, "same")
	req := file(path, "same") // even one that is as asked
	_, err := c.PutFile(t.Context(), req)
	if hint := wantReason(t, err, agentpb.Reason_NOT_OWNED)["hint"]; !strings.Contains(hint, "adopt") {
		t.Errorf("hint %q", hint)
	}
	if len(c.mustListOwned()) != 0 {
		t.Error("a refused claim is in the ledger")
	}
	req.Claim.Adopt, req.Content = true, []byte("ours now")
	put := c.mustPutFile(req)
	if mustRead(t, path) != "ours now" || !c.mustListOwned()[0].GetAdopted() {
		t.Errorf("adopted: %v", c.mustListOwned())
	}
	kept := c.mustRemove(claim("File", path), put.GetGeneration())
	if kept.GetRemoved() || !strings.Contains(kept.GetKeptBecause(), "adopted") || !exists(path) {
		t.Errorf("what was adopted is gone: %v", kept)
	}
	if len(c.mustListOwned()) != 0 {
		t.Error("the ledger still has it")
	}
}

func TestAnotherOwnerIsRefusedWhateverItAsks(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("config")
	put := c.mustPutFile(file(path, "first"))
	for name, other := range map[string]*agentpb.Claim{
		"another stack":    {Kind: "File", Id: path, Urn: testURN, Stack: "project/other", Adopt: true},
		"another resource": {Kind: "File", Id: path, Urn: testURN + "2", Stack: testStack, Adopt: true},
	} {
		t.Run(name, func(t *testing.T) {
			req := file(path, "second")
			req.Claim = other
			_, err := c.PutFile(t.Context(), req)
			meta := wantReason(t, err, agentpb.Reason_OTHER_OWNER)
			if meta["owner"] != testURN || meta["stack"] != testStack || meta["hint"] == "" {
				t.Errorf("metadata %v", meta)
			}
			other.Generation = put.GetGeneration()
			gone, err := c.Remove(t.Context(), &agentpb.RemoveRequest{Claim: other})
			if err != nil || gone.GetRemoved() || gone.GetKeptBecause() == "" {
				t.Errorf("removed by another: %v, %v", gone, err)
			}
		})
	}
	if mustRead(t, path) != "first" {
		t.Error("it was changed")
	}
}

func TestDeletionOfAnEarlierLifeDoesNothing(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("config")
	first := c.mustPutFile(file(path, "x"))
	second := c.mustPutFile(file(path, "y")) // the create half of a replacement
	if second.GetGeneration() <= first.GetGeneration() {
		t.Fatalf("generation %d after %d", second.GetGeneration(), first.GetGeneration())
	}
	stale := c.mustRemove(claim("File", path), first.GetGeneration())
	if stale.GetRemoved() || stale.GetKeptBecause() == "" || mustRead(t, path) != "y" {
		t.Errorf("stale deletion: %v", stale)
	}
	c.mustRemove(claim("File", path), second.GetGeneration())
	third := c.mustPutFile(file(path, "z"))
	for _, g := range []uint64{0, first.GetGeneration(), second.GetGeneration()} {
		if stale := c.mustRemove(claim("File", path), g); stale.GetRemoved() || !exists(path) {
			t.Errorf("a deletion of generation %d has removed generation %d", g, third.GetGeneration())
		}
	}
}

func TestUpdateKeepsItsGenerationAndRefusesAnOldOne(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("config")
	req := file(path, "1")
	put := c.mustPutFile(req)
	req.Claim.Generation, req.Content = put.GetGeneration(), []byte("2")
	if again := c.mustPutFile(req); again.GetGeneration() != put.GetGeneration() {
		t.Errorf("an update changed the generation from %d to %d", put.GetGeneration(), again.GetGeneration())
	}
	req.Claim.Generation--
	_, err := c.PutFile(t.Context(), req)
	wantReason(t, err, agentpb.Reason_NOT_OWNED)
}

func TestUpdateOnAReinstalledHostIsACreate(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("config")
	req := file(path, "x")
	req.Claim.Generation = 1234
	if put := c.mustPutFile(req); put.GetGeneration() <= 1234 || mustRead(t, path) != "x" {
		t.Errorf("put: %v", put)
	}
	foreign := file(h.path("foreign"), "x")
	mustWrite(t, h.path("foreign"), "theirs")
	foreign.Claim.Generation = 1234
	_, err := c.PutFile(t.Context(), foreign)
	wantReason(t, err, agentpb.Reason_NOT_OWNED)
}

// A run that is killed leaves an incomplete entry. The next one goes on as the same owner.
func TestInterruptedCreateIsContinued(t *testing.T) {
	h := newHost(t)
	path := h.path("config")
	killed := ledger.Open(filepath.Join(h.stateDir(), "owned"))
	if _, err := killed.Begin(claim("File", path), false, false, nil); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, path, "half")

	c := h.connectToChange("s")
	if owned := c.mustListOwned(); len(owned) != 1 || owned[0].GetComplete() {
		t.Fatalf("owned: %v", owned)
	}
	c.mustPutFile(file(path, "whole"))
	if owned := c.mustListOwned(); len(owned) != 1 || !owned[0].GetComplete() || owned[0].GetAdopted() || mustRead(t, path) != "whole" {
		t.Errorf("owned: %v", owned)
	}
}

// What a killed agent was writing may be a secret, or as large as a model. Its removal takes it
// along, also when it never got its name.
func TestRemovalTakesWhatAKilledAgentHasLeft(t *testing.T) {
	digest := sum([]byte("an archive"))
	config := sum([]byte("config"))
	for name, test := range map[string]struct {
		kind, id string
		left     []string
	}{
		"file":   {"File", "config", []string{".llmhost-" + config[:12] + "-000000000000"}},
		"model":  {"Model", "m.gguf", []string{".m.gguf.llmhost-part"}},
		"engine": {"Engine", digest, []string{"." + digest + ".part", "." + digest + ".tmp/bin/half"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			claim := claim(test.kind, h.path(test.id))
			killed, err := ledger.Open(filepath.Join(h.stateDir(), "owned")).Begin(claim, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range test.left {
				mustWrite(t, h.path(file), "half")
			}
			mustWrite(t, h.path("other"), "")
			c := h.connectToChange("s")
			c.mustRemove(claim, killed.Generation)
			onlyEntries(t, h.path(""), "other")
		})
	}
}

func TestLedgerIsForRootAlone(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	c.mustPutFile(file(h.path("config"), "x"))
	for _, dir := range []string{h.stateDir(), filepath.Join(h.stateDir(), "owned")} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
	files, err := filepath.Glob(filepath.Join(h.stateDir(), "owned", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", files[0], info.Mode(), err)
	}
}

func TestDamagedOrNewerLedgerIsAnErrorAndNotSilence(t *testing.T) {
	for content, want := range map[string]agentpb.Reason{
		"{": agentpb.Reason_REASON_UNSPECIFIED, `{"format": 99}`: agentpb.Reason_PROTOCOL,
	} {
		h := newHost(t)
		c := h.connectToChange("s")
		path := h.path("config")
		c.mustPutFile(file(path, "x"))
		entry := filepath.Join(h.stateDir(), "owned", ledger.Key("File", path)+".json")
		mustWrite(t, entry, content)
		_, err := c.PutFile(t.Context(), file(path, "y"))
		wantReason(t, err, want)
		_, err = c.ObservePath(t.Context(), &agentpb.ObservePathRequest{Path: path, Kind: "File"})
		wantReason(t, err, want)
		if mustRead(t, path) != "x" {
			t.Error("the file was changed")
		}
	}
}
