package agent_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/agent"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/transfer"
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

// pushModel sends a header and then the content by a lane.
func (c *client) pushModel(header *agentpb.ModelHeader, content []byte) (*agentpb.ChangeResponse, error) {
	c.t.Helper()
	done, err := c.host.push(c.t.Context(), header, fakeSource{content: content, size: header.GetSize()})
	return &agentpb.ChangeResponse{Generation: done.Generation, Changed: done.Changed}, err
}

// push pushes a model to an agent of its own.
func (h *host) push(ctx context.Context, header *agentpb.ModelHeader, src transfer.Source) (transfer.Result, error) {
	h.t.Helper()
	return transfer.Push(ctx, h, header, src, transfer.Options{})
}

// Lane starts an agent for a lane, as a connection to the host would.
func (h *host) Lane(context.Context) (io.ReadWriteCloser, error) {
	ours, theirs := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- agent.Serve(context.Background(), theirs, agent.Options{Version: "test"}) }()
	h.t.Cleanup(func() {
		ours.Close()
		if err := <-served; err != nil {
			h.t.Errorf("the agent of a lane ended with: %v", err)
		}
	})
	return lanePipe{ours, h.stateDir()}, nil
}

// lanePipe is a lane to an agent that keeps its state in a folder of the test.
type lanePipe struct {
	net.Conn
	stateDir string
}

func (p lanePipe) Opening() (stateDir, holder string) { return p.stateDir, "the test" }

func (h *host) ExtraLane(ctx context.Context) (io.ReadWriteCloser, error) { return h.Lane(ctx) }
func (h *host) RTT() time.Duration                                        { return 0 }

// fakeSource is a file that claims to have a size. pause is called when so many bytes were read.
type fakeSource struct {
	content []byte
	size    uint64
	after   int
	pause   func()
}

func (s fakeSource) Files() []transfer.File { return []transfer.File{{Size: s.size}} }
func (s fakeSource) ID() string             { return sum(s.content) }
func (s fakeSource) Close() error           { return nil }
func (s fakeSource) Open(_ context.Context, _ int, offset uint64) (io.ReadCloser, error) {
	rest := bytes.NewReader(s.content[min(offset, uint64(len(s.content))):])
	if s.pause == nil {
		return io.NopCloser(rest), nil
	}
	return io.NopCloser(io.MultiReader(io.LimitReader(rest, int64(s.after)), pausing(s.pause), rest)), nil
}

// pausing is a reader without bytes that takes its time.
type pausing func()

func (p pausing) Read([]byte) (int, error) {
	p()
	return 0, io.EOF
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

func TestModelWithOtherBytesIsNotThere(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	wrong := []byte(strings.Replace(string(weights), "weights", "Weights", 1))
	_, err := c.pushModel(modelHeader(h.path("m.gguf"), weights), wrong)
	wantReason(t, err, agentpb.Reason_DIGEST_MISMATCH)
	onlyEntries(t, h.path(""))
	if owned := c.mustListOwned(); len(owned) != 0 {
		t.Errorf("owned: %v", owned)
	}
}

func TestModelWhoseSourceIsShorterIsNotThere(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	for name, sent := range map[string][]byte{"too few": weights[:len(weights)-1], "nothing": nil} {
		t.Run(name, func(t *testing.T) {
			_, err := c.pushModel(modelHeader(h.path("m.gguf"), weights), sent)
			if !errors.Is(err, transfer.ErrChanged) {
				t.Errorf("got %v", err)
			}
			if exists(h.path("m.gguf")) {
				t.Error("half a model has its name")
			}
		})
	}
	if _, err := c.pushModel(modelHeader(h.path("m.gguf"), weights), weights); err != nil {
		t.Fatal(err)
	}
	onlyEntries(t, h.path(""), "m.gguf")
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
	_, err = c.pushModel(next, append([]byte("x"), weights[1:]...))
	wantReason(t, err, agentpb.Reason_DIGEST_MISMATCH)
	if mustRead(t, path) != "old" || c.observeModel(path, true).GetOwned().GetGeneration() != put.GetGeneration() {
		t.Error("the old model is not there any more")
	}
}

// cutPush pushes a model and cuts the connection after some of it has arrived.
func (h *host) cutPush(header *agentpb.ModelHeader, content []byte) {
	h.t.Helper()
	ctx, cut := context.WithCancel(h.t.Context())
	part := filepath.Join(filepath.Dir(header.GetClaim().GetId()), transfer.PartName(filepath.Base(header.GetClaim().GetId())))
	_, err := h.push(ctx, header, fakeSource{content: content, size: header.GetSize(), after: len(content) / 2, pause: func() {
		waitFor(h.t, "the first bytes", func() bool { // two pieces were sent by now
			journal, err := os.Stat(filepath.Join(part, "journal"))
			return err == nil && journal.Size() > 300
		})
		cut()
	}})
	if !errors.Is(err, context.Canceled) {
		h.t.Fatalf("a push that was cancelled ended with %v", err)
	}
}

var large = bytes.Repeat([]byte("weights!"), 2<<20)

func TestCutPushGoesOn(t *testing.T) {
	h := newHost(t)
	control := h.connectToChange("s")
	header := modelHeader(h.path("new/m.gguf"), large)
	h.cutPush(header, large)
	if exists(h.path("new/m.gguf")) {
		t.Fatal("half a model has its name")
	}
	if owned := control.mustListOwned(); len(owned) != 1 || owned[0].GetComplete() {
		t.Errorf("owned: %v", owned)
	}
	done, err := h.push(t.Context(), header, fakeSource{content: large, size: header.GetSize()})
	if err != nil {
		t.Fatal(err)
	}
	if done.Found < 1<<20 || done.Found+done.Sent != uint64(len(large)) || done.SHA256 != sum(large) {
		t.Errorf("found %d and sent %d of %d bytes: %s", done.Found, done.Sent, len(large), done.SHA256)
	}
	onlyEntries(t, h.path("new"), "m.gguf")
}

func TestCutPushIsRemovedWithItsModel(t *testing.T) {
	h := newHost(t)
	control := h.connectToChange("s")
	header := modelHeader(h.path("new/m.gguf"), large)
	h.cutPush(header, large)
	waitFor(t, "the end of the agent", func() bool {
		gone, err := control.Remove(t.Context(), &agentpb.RemoveRequest{Claim: &agentpb.Claim{
			Kind: "Model", Id: header.GetClaim().GetId(), Urn: testURN, Stack: testStack, Generation: control.mustListOwned()[0].GetGeneration()}})
		return err == nil && gone.GetKeptBecause() == ""
	})
	if owned := control.mustListOwned(); len(owned) != 0 || exists(h.path("new")) {
		t.Errorf("owned: %v", owned)
	}
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
	header.Claim.Generation, header.Mode = put.GetGeneration(), 0o600
	if again := c.mustSetModel(header); !again.GetChanged() {
		t.Error("nothing has changed")
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
	if again := c.mustSetModel(header); !again.GetChanged() {
		t.Fatal("nothing has changed")
	}
	if again := c.mustSetModel(header); again.GetChanged() {
		t.Error("changed a second time")
	}
	if seen := c.observeModel(path, false); seen.GetMode() != 0o600 || !seen.GetFromCache() {
		t.Errorf("seen: %v", seen)
	}

	// Bytes that were changed on the host aren't declared right by this.
	tamper(t, path)
	c.lacks(header, "has the SHA-256")
	header.Claim = claim("Model", h.path("absent.gguf"))
	c.lacks(header, "is not on the host")
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
	if put := c.mustSetModel(header); !put.GetChanged() {
		t.Error("nothing has changed")
	}
	if !c.observeModel(path, false).GetOwned().GetAdopted() {
		t.Error("not marked as adopted")
	}
}
