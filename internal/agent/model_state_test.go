package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

func (c *client) verifyModel(path, pin string) *agentpb.ModelState {
	c.t.Helper()
	stream, err := c.VerifyModel(c.t.Context(), &agentpb.VerifyModelRequest{Path: path, Sha256: pin})
	if err != nil {
		c.t.Fatal(err)
	}
	last, err := lastEvent(stream.Recv)
	if err != nil {
		c.t.Fatal(err)
	}
	return last.GetState()
}

func TestVerificationIsReportedUntilTheModelChanges(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("m.gguf")
	if _, err := c.pushModel(modelHeader(path, weights), weights); err != nil {
		t.Fatal(err)
	}
	if seen := c.observeModel(path, false); seen.GetVerifiedUnix() != 0 {
		t.Errorf("never verified: %v", seen)
	}
	if state := c.verifyModel(path, ""); state.GetVerifiedUnix() == 0 || state.GetVerifyFailure() != "" || state.GetSha256() != sum(weights) {
		t.Errorf("verified: %v", state)
	}
	if seen := c.observeModel(path, false); seen.GetVerifiedUnix() == 0 || !seen.GetFromCache() {
		t.Errorf("seen: %v", seen)
	}
	if seen := c.observeModel(path, true); seen.GetVerifiedUnix() == 0 {
		t.Errorf("forgotten by a full look at the same bytes: %v", seen)
	}
	tamper(t, path)
	if seen := c.observeModel(path, false); seen.GetVerifiedUnix() != 0 {
		t.Errorf("other bytes count as verified: %v", seen)
	}
	state := c.verifyModel(path, sum(weights))
	if !strings.Contains(state.GetVerifyFailure(), "and not "+sum(weights)) {
		t.Errorf("verified: %v", state)
	}
	if seen := c.observeModel(path, false); seen.GetVerifyFailure() != state.GetVerifyFailure() {
		t.Errorf("seen: %v", seen)
	}
	if state := c.verifyModel(h.path("absent"), ""); state.GetExists() || state.GetVerifyFailure() != "there is no model" {
		t.Errorf("absent: %v", state)
	}
}

// Looking at what isn't llmhost's writes nothing on the host.
func TestForeignModelIsNotRemembered(t *testing.T) {
	h := newHost(t)
	c := h.connect()
	mustWrite(t, h.path("m.gguf"), string(weights))
	c.observeModel(h.path("m.gguf"), false)
	c.verifyModel(h.path("m.gguf"), sum(weights))
	if exists(h.stateDir()) {
		t.Error("there is a state folder now")
	}
}

func (c *client) readModel(req *agentpb.ReadModelRequest) ([]byte, error) {
	c.t.Helper()
	stream, err := c.ReadModel(c.t.Context(), req)
	if err != nil {
		c.t.Fatal(err)
	}
	var all []byte
	for {
		msg, err := stream.Recv()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, msg.GetData()...)
	}
}

func TestReadModel(t *testing.T) {
	h := newHost(t)
	c := h.connect()
	content := bytes.Repeat([]byte("0123456789"), 350_000)
	mustWrite(t, h.path("m.gguf"), string(content))
	repository(t, h.path("folder"))
	if err := os.Symlink("/etc/passwd", h.path("folder/extra/link")); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct{ offset, length, from, to uint64 }{
		{0, 0, 0, 3_500_000}, {5, 10, 5, 15}, {1_000_000, 2_000_000, 1_000_000, 3_000_000}, {3_499_999, 0, 3_499_999, 3_500_000}, {3_500_000, 0, 0, 0},
	} {
		got, err := c.readModel(&agentpb.ReadModelRequest{Path: h.path("m.gguf"), Offset: r.offset, Length: r.length})
		if err != nil || !bytes.Equal(got, content[r.from:r.to]) {
			t.Errorf("%d bytes from %d: got %d, %v", r.length, r.offset, len(got), err)
		}
	}
	if got, err := c.readModel(&agentpb.ReadModelRequest{Path: h.path("folder"), Name: "extra/config.json"}); err != nil || string(got) != "{}" {
		t.Errorf("of a folder: %q, %v", got, err)
	}
	for _, req := range []*agentpb.ReadModelRequest{
		{Path: h.path("m.gguf"), Offset: 3_500_001}, {Path: h.path("m.gguf"), Offset: 1, Length: 3_500_000},
		{Path: h.path("m.gguf"), Offset: 1, Length: 1<<64 - 1},
		{Path: h.path("folder")}, {Path: h.path("folder"), Name: "../m.gguf"}, {Path: h.path("folder"), Name: "extra/link"},
		{Path: h.path("folder"), Name: "absent"}, {Path: "relative"},
	} {
		if got, err := c.readModel(req); err == nil {
			t.Errorf("%v: %d bytes, want an error", req, len(got))
		}
	}
}

func (c *client) listModels(folders ...string) map[string]*agentpb.ListedModel {
	c.t.Helper()
	resp, err := c.ListModels(c.t.Context(), &agentpb.ListModelsRequest{Folders: folders})
	if err != nil {
		c.t.Fatal(err)
	}
	all := map[string]*agentpb.ListedModel{}
	for _, m := range resp.GetModels() {
		all[m.GetPath()] = m
	}
	return all
}

func (c *client) collect(stack string, dry bool, paths ...string) map[string]*agentpb.CollectedModel {
	c.t.Helper()
	resp, err := c.CollectModels(c.t.Context(), &agentpb.CollectModelsRequest{Paths: paths, DryRun: dry, Stack: stack})
	if err != nil {
		c.t.Fatal(err)
	}
	all := map[string]*agentpb.CollectedModel{}
	for _, m := range resp.GetModels() {
		all[m.GetPath()] = m
	}
	return all
}

func TestListShowsWhatTheLedgerKnows(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	ours := modelHeader(h.path("elsewhere/m.gguf"), weights)
	if _, err := c.pushModel(ours, weights); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, h.path("srv/theirs.gguf"), "x")
	listed := c.listModels(h.path("srv"))
	if m := listed[h.path("elsewhere/m.gguf")]; m.GetState().GetOwned().GetUrn() != testURN || m.GetState().GetSha256() != sum(weights) || !m.GetPlaced() || m.GetDiskBytes() == 0 {
		t.Errorf("ours: %v", m)
	}
	if m := listed[h.path("srv/theirs.gguf")]; m == nil || m.GetPlaced() || m.GetState().GetSha256() != "" || m.GetState().GetOwner() == "" {
		t.Errorf("theirs: %v", m)
	}
	if len(listed) != 2 {
		t.Errorf("listed: %v", listed)
	}
}

func TestCollectTakesWhatNobodyNeedsAndNothingElse(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	push := func(path string, content []byte) {
		t.Helper()
		if _, err := c.pushModel(modelHeader(path, content), content); err != nil {
			t.Fatal(err)
		}
	}
	retained, running, linked := h.path("srv/retained.gguf"), h.path("srv/running.gguf"), h.path("srv/linked.gguf")
	push(retained, weights)
	push(running, weights[1:])
	c.mustSetModel(modelHeader(linked, weights))
	other := modelHeader(h.path("srv/other.gguf"), weights)
	other.Claim.Stack = "another/stack"
	other.Mode = 0o600
	c.mustSetModel(other)
	theirs, adopted, notes := h.path("srv/theirs.gguf"), h.path("srv/adopted.gguf"), h.path("srv/notes.txt")
	mustWrite(t, theirs, "x")
	mustWrite(t, notes, "x")
	mustWrite(t, adopted, string(weights))
	adopt := modelHeader(adopted, weights)
	adopt.Claim.Adopt = true
	c.mustSetModel(adopt)
	part := h.path("srv/.new.gguf.llmhost-part")
	mustWrite(t, part+"/file", strings.Repeat("x", 5000))
	if err := os.Chmod(part, 0o700); err != nil {
		t.Fatal(err)
	}
	foreign := h.path("srv/.foreign.gguf.llmhost-part")
	mustWrite(t, foreign+"/file", "anybody may enter")

	user := exec.Command("sleep", "60")
	f, err := os.Open(running)
	if err != nil {
		t.Fatal(err)
	}
	user.Stdin = f
	if err := user.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { user.Process.Kill(); user.Wait() }()
	f.Close()

	all := []string{retained, running, linked, h.path("srv/other.gguf"), theirs, adopted, notes, part, foreign, "/etc/passwd", retained}
	stays := map[string]string{
		running: "it is used by sleep (process", h.path("srv/other.gguf"): "it belongs to the stack another/stack",
		theirs: "llmhost has not put it there", adopted: "it was there before llmhost adopted it",
		notes: "there is no model", foreign: "llmhost has not put it there", "/etc/passwd": "there is no model",
	}
	dry := c.collect(testStack, true, all...)
	if !exists(retained) || !exists(part) {
		t.Fatal("a dry run has removed something")
	}
	done := c.collect(testStack, false, all...)
	for _, path := range all {
		if why := stays[path]; !strings.HasPrefix(done[path].GetKeptBecause(), why) || exists(path) != (why != "") {
			t.Errorf("%s is there: %t, kept because %q, want %q", path, exists(path), done[path].GetKeptBecause(), why)
		}
		if path != foreign && dry[path].GetFreedBytes() != done[path].GetFreedBytes() {
			t.Errorf("%s: %d bytes were announced and %d freed", path, dry[path].GetFreedBytes(), done[path].GetFreedBytes())
		}
	}
	if done[linked].GetFreedBytes() == 0 || done[part].GetFreedBytes() == 0 {
		t.Errorf("the last name of the bytes: %v, the upload: %v", done[linked], done[part])
	}
	var owned []string
	for _, o := range c.mustListOwned() {
		owned = append(owned, o.GetId())
	}
	if slices.Contains(owned, retained) || !slices.Contains(owned, adopted) {
		t.Errorf("the ledger has %q", owned)
	}
}

func TestCollectNeedsTheLeaseAndVanishes(t *testing.T) {
	h := newHost(t)
	c := h.connect()
	_, err := c.CollectModels(t.Context(), &agentpb.CollectModelsRequest{Paths: []string{h.path("m.gguf")}})
	wantReason(t, err, agentpb.Reason_LEASE_REQUIRED)
	c = h.connectToChange("s")
	path := h.path("new/m.gguf")
	if _, err := c.pushModel(modelHeader(path, weights), weights); err != nil {
		t.Fatal(err)
	}
	if got := c.collect("", false, path)[path]; got.GetKeptBecause() == "" || !exists(path) {
		t.Errorf("without a stack what a stack owns is removed: %v", got)
	}
	if got := c.collect(testStack, false, path)[path]; got.GetKeptBecause() != "" || got.GetFreedBytes() == 0 || exists(h.path("new")) {
		t.Errorf("collected: %v", got)
	}
	if err := c.ends(); err != nil {
		t.Fatal(err)
	}
	if exists(h.stateDir()) {
		t.Error("something of llmhost is left")
	}
}

// An upload that was cut off is listed with how far it came, and goes with all that was made for it.
func TestUploadThatHasNotEndedIsListedAndCollected(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	h.cutPush(modelHeader(h.path("new/m.gguf"), large), large)
	part := h.path("new/.m.gguf.llmhost-part")
	listed := c.listModels(h.path("new"))[part]
	if got := listed.GetArrivedBytes(); !listed.GetPartial() || got == 0 || got >= uint64(len(large)) || listed.GetState().GetSize() != uint64(len(large)) {
		t.Fatalf("listed: %v", listed)
	}
	if got := c.collect("another/stack", false, part)[part]; !strings.Contains(got.GetKeptBecause(), "belongs to the stack") {
		t.Errorf("somebody else's upload was collected: %v", got)
	}
	// The agent that was receiving it notices in its own time.
	waitFor(t, "the end of the upload", func() bool { return c.collect(testStack, false, part)[part].GetKeptBecause() == "" })
	if exists(h.path("new")) {
		t.Error("the folder that was made for it is still there")
	}
	if owned := c.mustListOwned(); len(owned) != 0 {
		t.Errorf("owned: %v", owned)
	}
}

// The target is 1.5 s for a drift run over 200 resources, connection and engine included.
func BenchmarkObserve100UnchangedModels(b *testing.B) {
	h := &host{root: b.TempDir()}
	server := agent.NewServer(agent.Options{StateDir: h.stateDir()})
	defer server.Close()
	if _, err := server.AcquireLease(b.Context(), &agentpb.AcquireLeaseRequest{SessionId: "s", Holder: "benchmark"}); err != nil {
		b.Fatal(err)
	}
	var paths []string
	for i := range 100 {
		path := h.path(fmt.Sprintf("%d.gguf", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, weights, 0o640); err != nil {
			b.Fatal(err)
		}
		header := modelHeader(path, weights)
		header.Claim.Adopt = true
		if err := server.SetModel(&agentpb.SetModelRequest{Header: header}, dropEvents{ctx: b.Context()}); err != nil {
			b.Fatal(err)
		}
		paths = append(paths, path)
	}
	for b.Loop() {
		for _, path := range paths {
			seen, err := server.ObserveModel(b.Context(), &agentpb.ObserveModelRequest{Path: path})
			if err != nil || !seen.GetFromCache() {
				b.Fatal(seen, err)
			}
		}
	}
}

// dropEvents is a stream that nobody listens to.
type dropEvents struct {
	grpc.ServerStreamingServer[agentpb.ModelEvent]
	ctx context.Context
}

func (d dropEvents) Context() context.Context     { return d.ctx }
func (dropEvents) Send(*agentpb.ModelEvent) error { return nil }
