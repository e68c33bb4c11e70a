package agent_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// setModel calls SetModel and returns its last event.
func (c *client) setModel(header *agentpb.ModelHeader) (*agentpb.ModelEvent, error) {
	c.t.Helper()
	stream, err := c.SetModel(c.t.Context(), &agentpb.SetModelRequest{Header: header})
	if err != nil {
		c.t.Fatal(err)
	}
	return lastEvent(stream.Recv)
}

func lastEvent(next func() (*agentpb.ModelEvent, error)) (last *agentpb.ModelEvent, err error) {
	for {
		ev, err := next()
		if err == io.EOF {
			return last, nil
		}
		if err != nil {
			return nil, err
		}
		last = ev
	}
}

func (c *client) mustSetModel(header *agentpb.ModelHeader) *agentpb.ChangeResponse {
	c.t.Helper()
	ev, err := c.setModel(header)
	if err != nil || ev.GetResult() == nil {
		c.t.Fatalf("%v, %v", ev, err)
	}
	header.Claim.Generation = ev.GetResult().GetGeneration()
	return ev.GetResult()
}

func (c *client) lacks(header *agentpb.ModelHeader, why string) {
	c.t.Helper()
	ev, err := c.setModel(header)
	if err != nil || !ev.GetLacking() || !strings.Contains(ev.GetText(), why) {
		c.t.Errorf("got %v, %v, want that the bytes are lacking since %q", ev, err, why)
	}
}

// folderHeader is for the model that repository has put into a folder.
func folderHeader(path string) *agentpb.ModelHeader {
	var entries []modelfile.Entry
	for name, content := range repositoryFiles {
		entries = append(entries, modelfile.Entry{Name: name, SHA256: sum([]byte(content))})
	}
	return &agentpb.ModelHeader{
		Claim: claim("Model", path), Sha256: modelfile.Digest(entries), Folder: true,
		Mode: 0o640, Owner: me(), Group: myGroup(),
	}
}

var repositoryFiles = map[string]string{"model-00001-of-00002.gguf": "one", "model-00002-of-00002.gguf": "two!", "extra/config.json": "{}"}

// emptyFolder is a model's folder with one empty file.
type emptyFolder struct{}

func (emptyFolder) Files() []transfer.File { return []transfer.File{{Name: "x"}} }
func (emptyFolder) ID() string             { return "x" }
func (emptyFolder) Close() error           { return nil }
func (emptyFolder) Open(context.Context, int, uint64) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("")), nil
}

func repository(t *testing.T, path string) {
	t.Helper()
	for name, content := range repositoryFiles {
		mustWrite(t, filepath.Join(path, name), content)
	}
}

func inodeNumber(t *testing.T, path string) os.FileInfo {
	t.Helper()
	is, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

func TestModelIsAdoptedInPlaceAfterItsBytesWereChecked(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("mine.gguf")
	mustWrite(t, path, string(weights))
	before := inodeNumber(t, path)

	header := modelHeader(path, weights)
	_, err := c.setModel(header)
	wantReason(t, err, agentpb.Reason_NOT_OWNED)
	header.Claim.Adopt = true
	header.Sha256 = sum([]byte("another"))
	c.lacks(header, sum(weights)+" and not "+header.GetSha256())
	if owned := c.mustListOwned(); len(owned) != 0 {
		t.Fatalf("a model with other bytes was claimed: %v", owned)
	}
	header.Sha256 = sum(weights)
	if put := c.mustSetModel(header); !put.GetChanged() { // its mode was 0644
		t.Error("nothing was changed")
	}
	if seen := c.observeModel(path, false); !seen.GetOwned().GetAdopted() || seen.GetMode() != 0o640 || !seen.GetFromCache() {
		t.Errorf("seen: %v", seen)
	}
	if !os.SameFile(before, inodeNumber(t, path)) {
		t.Error("the file was copied")
	}
	if again := c.mustSetModel(header); again.GetChanged() {
		t.Error("the same again changed something")
	}
	if gone := c.mustRemove(header.Claim, header.GetClaim().GetGeneration()); gone.GetRemoved() || !exists(path) {
		t.Errorf("a user's own file was removed: %v", gone)
	}
	if seen := c.observeModel(path, false); seen.GetFromCache() {
		t.Error("its digest is still remembered")
	}
}

func TestModelIsMadeOfTheSameBytesElsewhere(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	first := modelHeader(h.path("models/first.gguf"), weights)
	c.lacks(first, "is not on the host")
	put, err := c.pushModel(first, weights)
	if err != nil {
		t.Fatal(err)
	}
	first.Claim.Generation = put.GetGeneration()

	// With the same attributes it is a link, and what is known of the first one isn't lost.
	second := modelHeader(h.path("other/second.gguf"), weights)
	c.mustSetModel(second)
	if !os.SameFile(inodeNumber(t, first.GetClaim().GetId()), inodeNumber(t, second.GetClaim().GetId())) {
		t.Error("the bytes are on the disk twice")
	}
	for _, path := range []string{first.GetClaim().GetId(), second.GetClaim().GetId()} {
		if seen := c.observeModel(path, false); !seen.GetFromCache() || seen.GetSha256() != sum(weights) {
			t.Errorf("%s: %v", path, seen)
		}
	}
	// With others it is a copy.
	third := modelHeader(h.path("third.gguf"), weights)
	third.Mode = 0o600
	c.mustSetModel(third)
	if os.SameFile(inodeNumber(t, first.GetClaim().GetId()), inodeNumber(t, third.GetClaim().GetId())) {
		t.Error("two models share attributes that differ")
	}
	if seen := c.observeModel(third.GetClaim().GetId(), false); seen.GetMode() != 0o600 || !seen.GetFromCache() {
		t.Errorf("third: %v", seen)
	}
	// What is linked parts when one of them changes.
	second.Mode = 0o444
	c.mustSetModel(second)
	if seen := c.observeModel(first.GetClaim().GetId(), false); seen.GetMode() != 0o640 || !seen.GetFromCache() {
		t.Errorf("first: %v", seen)
	}
	if seen := c.observeModel(second.GetClaim().GetId(), false); seen.GetMode() != 0o444 || seen.GetSha256() != sum(weights) {
		t.Errorf("second: %v", seen)
	}
	c.mustRemove(second.Claim, second.GetClaim().GetGeneration())
	c.mustRemove(first.Claim, first.GetClaim().GetGeneration())
	if mustRead(t, third.GetClaim().GetId()) != string(weights) || exists(h.path("other")) || exists(h.path("models")) {
		t.Error("a removal took what isn't its own, or left something")
	}
}

func TestRemovalOfALinkedModelKeepsTheOther(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	first, second := modelHeader(h.path("first.gguf"), weights), modelHeader(h.path("second.gguf"), weights)
	put, err := c.pushModel(first, weights)
	if err != nil {
		t.Fatal(err)
	}
	c.mustSetModel(second)
	c.mustRemove(first.Claim, put.GetGeneration())
	if seen := c.observeModel(h.path("second.gguf"), false); seen.GetSha256() != sum(weights) || !seen.GetFromCache() {
		t.Errorf("seen: %v", seen)
	}
	onlyEntries(t, h.path(""), "second.gguf")
}

// A copy on the host that was changed, or that has failed its verification, is no source.
func TestChangedBytesElsewhereAreNotUsed(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("first.gguf")
	if _, err := c.pushModel(modelHeader(path, weights), weights); err != nil {
		t.Fatal(err)
	}
	tamper(t, path)
	second := modelHeader(h.path("second.gguf"), weights)
	c.lacks(second, "is not on the host")
	onlyEntries(t, h.path(""), "first.gguf")
	if owned := c.mustListOwned(); len(owned) != 1 {
		t.Errorf("owned: %v", owned)
	}
}

func TestFolderModel(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	mine := folderHeader(h.path("mine"))
	repository(t, h.path("mine"))
	if err := os.Symlink("/etc", h.path("mine/etc")); err != nil {
		t.Fatal(err)
	}
	mine.Claim.Adopt = true
	c.lacks(mine, "is a symbolic link")
	if err := os.Remove(h.path("mine/etc")); err != nil {
		t.Fatal(err)
	}
	c.mustSetModel(mine)
	seen := c.observeModel(h.path("mine"), false)
	if !seen.GetFolder() || seen.GetSha256() != mine.GetSha256() || seen.GetMode() != 0o640 || len(seen.GetFiles()) != 3 || seen.GetFiles()[0].GetName() != "extra/config.json" {
		t.Errorf("seen: %v", seen)
	}

	// Another folder isn't replaced by those bytes, not even if it may be adopted.
	other := folderHeader(h.path("other"))
	other.Claim.Adopt = true
	mustWrite(t, h.path("other/thesis.txt"), "precious")
	for range 2 { // trying again doesn't help
		_, err := c.setModel(other)
		wantReason(t, err, agentpb.Reason_NOT_OWNED)
		other.SessionId = "s"
		_, err = h.push(t.Context(), other, emptyFolder{})
		wantReason(t, err, agentpb.Reason_NOT_OWNED)
		if mustRead(t, h.path("other/thesis.txt")) != "precious" {
			t.Fatal("a user's folder is gone")
		}
	}

	// A second one of the same bytes is llmhost's own, and goes as a whole.
	ours := folderHeader(h.path("models/ours"))
	c.mustSetModel(ours)
	if seen := c.observeModel(h.path("models/ours"), false); seen.GetSha256() != ours.GetSha256() || seen.GetMode() != 0o640 || !seen.GetFromCache() {
		t.Errorf("seen: %v", seen)
	}
	mustWrite(t, h.path("models/ours/more"), "")
	if seen := c.observeModel(h.path("models/ours"), false); seen.GetSha256() == ours.GetSha256() {
		t.Error("a file that was added isn't noticed")
	}
	c.mustSetModel(ours) // repaired from the other one
	if seen := c.observeModel(h.path("models/ours"), false); seen.GetSha256() != ours.GetSha256() {
		t.Errorf("seen: %v", seen)
	}
	onlyEntries(t, h.path("models"), "ours")
	c.mustRemove(ours.Claim, ours.GetClaim().GetGeneration())
	if exists(h.path("models")) {
		t.Error("something is left of it")
	}

	for _, name := range []string{"../out", "/etc/passwd", "a/../b", ""} {
		bad := folderHeader(h.path("bad"))
		bad.Files = []*agentpb.ModelFile{{Name: name, Sha256: sum(nil)}}
		_, err := c.setModel(bad)
		wantReason(t, err, agentpb.Reason_INVALID)
	}
}

// Whoever may write beside a model can't have the agent write elsewhere.
func TestModelIsNotWrittenThroughALink(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	if _, err := c.pushModel(modelHeader(h.path("first.gguf"), weights), weights); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, h.path("precious"), "precious")
	if err := os.Symlink(h.path("precious"), h.path("link.gguf")); err != nil {
		t.Fatal(err)
	}
	header := modelHeader(h.path("link.gguf"), weights)
	header.Claim.Adopt = true
	_, err := c.setModel(header)
	wantReason(t, err, agentpb.Reason_WRONG_TYPE)
	if mustRead(t, h.path("precious")) != "precious" {
		t.Error("the link was followed")
	}
}

func TestSettingAModelNeedsTheLease(t *testing.T) {
	h := newHost(t)
	_, err := h.connect().setModel(modelHeader(h.path("m.gguf"), weights))
	wantReason(t, err, agentpb.Reason_LEASE_REQUIRED)
}
