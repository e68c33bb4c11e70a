package agent_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func modelHeader(path string, content []byte) *agentpb.ModelHeader {
	return &agentpb.ModelHeader{
		Claim: claim("Model", path), Sha256: sum(content), Size: uint64(len(content)),
		Mode: 0o640, Owner: me(), Group: myGroup(), SessionId: "s",
	}
}

// pushModel sends a header and then the content in pieces.
func (c *client) pushModel(header *agentpb.ModelHeader, content []byte) (*agentpb.ChangeResponse, error) {
	c.t.Helper()
	stream, err := c.PutModel(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	err = stream.Send(&agentpb.PutModelRequest{Part: &agentpb.PutModelRequest_Header{Header: header}})
	for rest := content; err == nil && len(rest) > 0; {
		n := min(len(rest), 64<<10)
		err = stream.Send(&agentpb.PutModelRequest{Part: &agentpb.PutModelRequest_Data{Data: rest[:n]}})
		rest = rest[n:]
	}
	return stream.CloseAndRecv() // why a send failed is said here
}

func (c *client) observeModel(path string, full bool) *agentpb.ModelState {
	c.t.Helper()
	seen, err := c.ObserveModel(c.t.Context(), &agentpb.ObserveModelRequest{Path: path, Full: full})
	if err != nil {
		c.t.Fatal(err)
	}
	return seen
}

var weights = []byte(strings.Repeat("weights ", 100_000))

func TestModelComesByABulkAgentOfTheSession(t *testing.T) {
	h := newHost(t)
	control := h.connectToChange("s")
	bulk := h.connect()
	path := h.path("models/m.gguf")
	put, err := bulk.pushModel(modelHeader(path, weights), weights)
	if err != nil || !put.GetChanged() {
		t.Fatal(put, err)
	}
	onlyEntries(t, h.path("models"), "m.gguf")
	seen := control.observeModel(path, false)
	if seen.GetSha256() != sum(weights) || !seen.GetFromCache() || seen.GetSize() != uint64(len(weights)) || seen.GetMode() != 0o640 || !seen.GetOwned().GetComplete() {
		t.Errorf("seen: %v", seen)
	}
	if gone := control.mustRemove(claim("Model", path), put.GetGeneration()); !gone.GetRemoved() || exists(path) {
		t.Errorf("removed: %v", gone)
	}
}

func TestModelNeedsTheSessionsLease(t *testing.T) {
	h := newHost(t)
	bulk := h.connect()
	header := modelHeader(h.path("m.gguf"), weights)
	_, err := bulk.pushModel(header, weights)
	wantReason(t, err, agentpb.Reason_LEASE_REQUIRED)
	h.connectToChange("other")
	_, err = bulk.pushModel(header, weights)
	wantReason(t, err, agentpb.Reason_LEASE_HELD)
}

func TestModelThatDidNotArriveWholeIsNotThere(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	wrong := []byte(strings.Replace(string(weights), "weights", "Weights", 1))
	for name, sent := range map[string][]byte{
		"other bytes": wrong, "too few": weights[:len(weights)-1], "too many": append(weights[:len(weights):len(weights)], 'x'), "nothing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.pushModel(modelHeader(h.path("m.gguf"), weights), sent)
			wantReason(t, err, agentpb.Reason_DIGEST_MISMATCH)
			onlyEntries(t, h.path(""))
			if owned := c.mustListOwned(); len(owned) != 0 {
				t.Errorf("owned: %v", owned)
			}
		})
	}
}

func TestFailedPushLeavesTheOldModel(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("m.gguf")
	first := modelHeader(path, []byte("old"))
	put, err := c.pushModel(first, []byte("old"))
	if err != nil {
		t.Fatal(err)
	}
	next := modelHeader(path, weights)
	next.Claim.Generation = put.GetGeneration()
	_, err = c.pushModel(next, weights[1:])
	wantReason(t, err, agentpb.Reason_DIGEST_MISMATCH)
	if mustRead(t, path) != "old" || c.observeModel(path, true).GetOwned().GetGeneration() != put.GetGeneration() {
		t.Error("the old model is not there any more")
	}
}

func TestCutConnectionLeavesNothing(t *testing.T) {
	h := newHost(t)
	control := h.connectToChange("s")
	bulk := h.connect()
	stream, err := bulk.PutModel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	header := modelHeader(h.path("new/m.gguf"), weights)
	if err := stream.Send(&agentpb.PutModelRequest{Part: &agentpb.PutModelRequest_Header{Header: header}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&agentpb.PutModelRequest{Part: &agentpb.PutModelRequest_Data{Data: weights[:1000]}}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the claim", func() bool { return len(control.mustListOwned()) == 1 })
	if err := bulk.ends(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the clean-up", func() bool { return !exists(h.path("new")) && len(control.mustListOwned()) == 0 })
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A digest that can't be remembered (the disk is full, or read-only) is computed again.
func TestModelWithoutAMemoryForDigests(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	mustWrite(t, filepath.Join(h.stateDir(), "digests"), "a file, so that nothing can be put there")
	path := h.path("m.gguf")
	header := modelHeader(path, weights)
	put, err := c.pushModel(header, weights)
	if err != nil {
		t.Fatal(err)
	}
	if seen := c.observeModel(path, false); seen.GetSha256() != sum(weights) || seen.GetFromCache() || !seen.GetOwned().GetComplete() {
		t.Errorf("seen: %v", seen)
	}
	header.Claim.Generation, header.AttributesOnly, header.Mode = put.GetGeneration(), true, 0o600
	if again, err := c.pushModel(header, nil); err != nil || !again.GetChanged() {
		t.Error(again, err)
	}
}

func TestLeftoverOfAKilledPushIsReplaced(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	mustWrite(t, h.path(".m.gguf.llmhost-part"), strings.Repeat("x", 10_000_000))
	if _, err := c.pushModel(modelHeader(h.path("m.gguf"), weights), weights); err != nil {
		t.Fatal(err)
	}
	onlyEntries(t, h.path(""), "m.gguf")
}

func TestModelsAttributesAreSetWithoutItsBytes(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("m.gguf")
	header := modelHeader(path, weights)
	put, err := c.pushModel(header, weights)
	if err != nil {
		t.Fatal(err)
	}
	header.Claim.Generation, header.AttributesOnly, header.Mode = put.GetGeneration(), true, 0o600
	if again, err := c.pushModel(header, nil); err != nil || !again.GetChanged() {
		t.Fatal(again, err)
	}
	if again, err := c.pushModel(header, nil); err != nil || again.GetChanged() {
		t.Errorf("a second time: %v, %v", again, err)
	}
	if seen := c.observeModel(path, false); seen.GetMode() != 0o600 || !seen.GetFromCache() {
		t.Errorf("seen: %v", seen)
	}

	// Bytes that were changed on the host aren't declared right by this.
	tamper(t, path)
	_, err = c.pushModel(header, nil)
	wantReason(t, err, agentpb.Reason_DIGEST_MISMATCH)
	header.Claim = claim("Model", h.path("absent.gguf"))
	_, err = c.pushModel(header, nil)
	wantReason(t, err, agentpb.Reason_DIGEST_MISMATCH)
}

// tamper changes a byte and hides it, as far as a file's times can.
func tamper(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("!"), 5); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

func TestTamperingIsSeenInSpiteOfTheCache(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("m.gguf")
	if _, err := c.pushModel(modelHeader(path, weights), weights); err != nil {
		t.Fatal(err)
	}
	if seen := c.observeModel(path, true); seen.GetFromCache() || seen.GetSha256() != sum(weights) {
		t.Errorf("a full look: %v", seen)
	}
	tamper(t, path)
	if seen := c.observeModel(path, false); seen.GetFromCache() || seen.GetSha256() == sum(weights) {
		t.Errorf("after the change: %v", seen)
	}
	if seen := c.observeModel(path, false); !seen.GetFromCache() || seen.GetSha256() == sum(weights) {
		t.Errorf("looking again: %v", seen)
	}
}

func TestForeignModelIsSeenAndRefused(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("m.gguf")
	mustWrite(t, path, string(weights))
	seen := c.observeModel(path, false)
	if seen.GetSha256() != sum(weights) || seen.GetOwned() != nil {
		t.Errorf("seen: %v", seen)
	}
	_, err := c.pushModel(modelHeader(path, weights), weights)
	wantReason(t, err, agentpb.Reason_NOT_OWNED)
	header := modelHeader(path, weights)
	header.Claim.Adopt, header.AttributesOnly = true, true
	if put, err := c.pushModel(header, nil); err != nil || !put.GetChanged() {
		t.Errorf("adopted: %v, %v", put, err)
	}
	if !c.observeModel(path, false).GetOwned().GetAdopted() {
		t.Error("not marked as adopted")
	}
}
