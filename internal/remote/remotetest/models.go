package remotetest

import (
	"errors"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/remote"
)

// foreignModel puts a model on the host behind llmhost's back.
func (h Host) foreignModel(t *testing.T, name string) *agentpb.ModelHeader {
	t.Helper()
	content := strings.Repeat("model bytes ", 1000)
	h.Write(t, path.Join(h.Dir, name), content)
	return h.modelHeader(name, digest([]byte(content)))
}

func (h Host) modelHeader(name, sha256 string) *agentpb.ModelHeader {
	return &agentpb.ModelHeader{Claim: h.claim("Model", path.Join(h.Dir, name)), Sha256: sha256, Mode: 0o640, Owner: h.Owner, Group: h.Group}
}

// last returns the last event of a stream.
func last(recv func() (*agentpb.ModelEvent, error)) (e *agentpb.ModelEvent, err error) {
	for {
		next, err := recv()
		if errors.Is(err, io.EOF) {
			return e, nil
		}
		if err != nil {
			return nil, err
		}
		e = next
	}
}

func (h Host) trySetModel(t *testing.T, c *remote.Conn, header *agentpb.ModelHeader) (*agentpb.ModelEvent, error) {
	t.Helper()
	stream, err := c.Agent().SetModel(within(t), &agentpb.SetModelRequest{Header: header})
	if err != nil {
		t.Fatal(err)
	}
	return last(stream.Recv)
}

func (h Host) setModel(t *testing.T, c *remote.Conn, header *agentpb.ModelHeader) *agentpb.ModelEvent {
	t.Helper()
	e, err := h.trySetModel(t, c, header)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func modelFromTheHost(t *testing.T, h Host) {
	c := h.leased(t)
	mine := h.foreignModel(t, "mine.gguf")
	_, err := h.trySetModel(t, c, mine)
	wantReason(t, err, agentpb.Reason_NOT_OWNED, "adopt")
	mine.Claim.Adopt = true
	if got := h.setModel(t, c, mine); got.GetResult().GetGeneration() == 0 {
		t.Errorf("adopting it says %v", got)
	}
	second := h.modelHeader("second.gguf", mine.GetSha256())
	made := h.setModel(t, c, second).GetResult()
	if got := h.observeModel(t, c, "second.gguf"); got.GetSha256() != mine.GetSha256() || !got.GetFromCache() || got.GetMode() != 0o640 || got.GetOwner() != h.Owner {
		t.Errorf("made of the first one's bytes: %v", got)
	}
	if got := h.setModel(t, c, h.modelHeader("third.gguf", digest([]byte("nowhere")))); !got.GetLacking() || got.GetText() == "" {
		t.Errorf("bytes that the host hasn't: %v", got)
	}

	read, err := c.Agent().ReadModel(within(t), &agentpb.ReadModelRequest{Path: path.Join(h.Dir, "second.gguf"), Offset: 6, Length: 5})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read.Recv(); err != nil || string(got.GetData()) != "bytes" {
		t.Errorf("read %q, %v", got.GetData(), err)
	}
	second.Claim.Generation = made.GetGeneration()
	if gone, err := c.Agent().Remove(within(t), &agentpb.RemoveRequest{Claim: second.GetClaim()}); err != nil || !gone.GetRemoved() {
		t.Errorf("removed: %v, %v", gone, err)
	}
	if !h.observeModel(t, c, "mine.gguf").GetExists() {
		t.Error("the removal of one has removed the other")
	}
}

func verifyModel(t *testing.T, h Host) {
	c := h.leased(t)
	header := h.foreignModel(t, "m.gguf")
	header.Claim.Adopt = true
	h.setModel(t, c, header)
	verify := func() *agentpb.ModelState {
		t.Helper()
		stream, err := c.Agent().VerifyModel(within(t), &agentpb.VerifyModelRequest{Path: header.GetClaim().GetId(), Sha256: header.GetSha256()})
		if err != nil {
			t.Fatal(err)
		}
		e, err := last(stream.Recv)
		if err != nil {
			t.Fatal(err)
		}
		return e.GetState()
	}
	if got := verify(); got.GetVerifiedUnix() == 0 || got.GetVerifyFailure() != "" {
		t.Errorf("verified: %v", got)
	}
	h.Write(t, header.GetClaim().GetId(), "something else")
	if got := verify(); !strings.Contains(got.GetVerifyFailure(), digest([]byte("something else"))) {
		t.Errorf("after it was changed: %v", got)
	}
	if got := h.observeModel(t, c, "m.gguf"); got.GetVerifyFailure() == "" {
		t.Errorf("the failure isn't remembered: %v", got)
	}
}

func listAndCollect(t *testing.T, h Host) {
	c := h.leased(t)
	mine := h.foreignModel(t, "mine.gguf")
	mine.Claim.Adopt = true
	h.setModel(t, c, mine)
	ours := h.modelHeader("ours.gguf", mine.GetSha256())
	ours.Mode = 0o600
	h.setModel(t, c, ours)
	listed, err := c.Agent().ListModels(within(t), &agentpb.ListModelsRequest{Folders: []string{h.Dir}})
	if err != nil {
		t.Fatal(err)
	}
	var here []*agentpb.ListedModel // a host that other tests have used has more
	for _, m := range listed.GetModels() {
		if path.Dir(m.GetPath()) == h.Dir {
			here = append(here, m)
		}
	}
	if len(here) != 2 || here[1].GetState().GetSha256() != mine.GetSha256() {
		t.Fatalf("listed %v", here)
	}
	got, err := c.Agent().CollectModels(within(t), &agentpb.CollectModelsRequest{
		Paths: []string{mine.GetClaim().GetId(), ours.GetClaim().GetId()}, Stack: ours.GetClaim().GetStack(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetModels()[0].GetKeptBecause() == "" || got.GetModels()[1].GetKeptBecause() != "" || got.GetModels()[1].GetFreedBytes() == 0 {
		t.Errorf("collected %v", got.GetModels())
	}
	if !h.observeModel(t, c, "mine.gguf").GetExists() || h.observeModel(t, c, "ours.gguf").GetExists() {
		t.Error("what was to stay has gone, or the other way round")
	}
}

func program(t *testing.T, h Host) {
	c := h.leased(t)
	file := path.Join(h.Dir, "lib/llmhost-agent")
	claim := h.claim("Program", file)
	put, err := c.Agent().PutProgram(within(t), &agentpb.PutProgramRequest{Claim: claim})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Agent().ObserveProgram(within(t), &agentpb.ObserveProgramRequest{Path: file})
	if err != nil || !got.GetCurrent() || got.GetMode() != 0o755 || !put.GetChanged() {
		t.Errorf("installed: %v, %v", got, err)
	}
	claim.Generation = put.GetGeneration()
	if gone, err := c.Agent().Remove(within(t), &agentpb.RemoveRequest{Claim: claim}); err != nil || !gone.GetRemoved() {
		t.Errorf("removed: %v, %v", gone, err)
	}
}
