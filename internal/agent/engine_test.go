package agent_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/archive/archivetest"
)

func engine() []byte {
	return archivetest.Zstd(archivetest.Tar(
		archivetest.Dir("usr/"), archivetest.Dir("usr/bin/"),
		archivetest.Program("usr/bin/llama-server", "program"),
		archivetest.File("usr/lib/libllama.so", "library"),
		archivetest.Symlink("bin", "usr/bin"),
		archivetest.Dir("models/"),
	))
}

func engineHeader(root string, content []byte) *agentpb.EngineHeader {
	digest := sum(content)
	return &agentpb.EngineHeader{
		Claim: claim("Engine", filepath.Join(root, digest)), Sha256: digest,
		Size: uint64(len(content)), Format: "tar.zst", SessionId: "s",
	}
}

func (c *client) pushEngine(header *agentpb.EngineHeader, content []byte) (*agentpb.ChangeResponse, error) {
	c.t.Helper()
	stream, err := c.PutEngine(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	err = stream.Send(&agentpb.PutEngineRequest{Part: &agentpb.PutEngineRequest_Header{Header: header}})
	for rest := content; err == nil && len(rest) > 0; {
		n := min(len(rest), 1000)
		err = stream.Send(&agentpb.PutEngineRequest{Part: &agentpb.PutEngineRequest_Data{Data: rest[:n]}})
		rest = rest[n:]
	}
	return stream.CloseAndRecv()
}

func (c *client) observeEngine(path string) *agentpb.EngineState {
	c.t.Helper()
	seen, err := c.ObserveEngine(c.t.Context(), &agentpb.ObserveEngineRequest{Path: path})
	if err != nil {
		c.t.Fatal(err)
	}
	return seen
}

func TestEngineIsUnpackedAndRemoved(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	header := engineHeader(h.path("engines"), engine())
	path := header.Claim.Id
	put, err := c.pushEngine(header, engine())
	if err != nil || !put.GetChanged() {
		t.Fatal(put, err)
	}
	onlyEntries(t, h.path("engines"), header.Sha256)
	if got := mustRead(t, filepath.Join(path, "bin/llama-server")); got != "program" {
		t.Errorf("the program is %q", got)
	}
	seen := c.observeEngine(path)
	if !seen.GetExists() || seen.GetSha256() != header.Sha256 || seen.GetFiles() != 2 || len(seen.GetModifiedFiles()) != 0 || !seen.GetOwned().GetComplete() {
		t.Errorf("seen: %v", seen)
	}

	header.Claim.Generation = put.GetGeneration()
	if again, err := c.pushEngine(header, nil); err != nil || again.GetChanged() {
		t.Errorf("an engine that is there needs no bytes: %v, %v", again, err)
	}

	if gone := c.mustRemove(claim("Engine", path), put.GetGeneration()); !gone.GetRemoved() || exists(h.path("engines")) {
		t.Errorf("removed: %v", gone)
	}
	if seen := c.observeEngine(path); seen.GetExists() {
		t.Errorf("seen after removal: %v", seen)
	}
}

func TestModifiedEngineIsSeenAndRepaired(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	header := engineHeader(h.path("engines"), engine())
	path := header.Claim.Id
	put, err := c.pushEngine(header, engine())
	if err != nil {
		t.Fatal(err)
	}
	untouched := inode(t, filepath.Join(path, "usr/bin/llama-server"))

	tamper(t, filepath.Join(path, "usr/lib/libllama.so"))
	mustWrite(t, filepath.Join(path, "usr/lib/extra/backdoor.so"), "x")
	for _, err := range []error{
		os.Remove(filepath.Join(path, "bin")),
		os.Symlink("/tmp", filepath.Join(path, "bin")),
		os.Chmod(filepath.Join(path, "models"), 0o777),
		os.Chmod(path, 0o777),
		os.Mkdir(filepath.Join(path, "mountpoint"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []string{".", "bin", "models", "usr/lib/extra/backdoor.so", "usr/lib/libllama.so"}
	if got := c.observeEngine(path).GetModifiedFiles(); !slices.Equal(got, want) {
		t.Errorf("modified: %q, want %q", got, want)
	}

	header.Claim.Generation = put.GetGeneration()
	if again, err := c.pushEngine(header, engine()); err != nil || !again.GetChanged() {
		t.Fatal(again, err)
	}
	if got := c.observeEngine(path).GetModifiedFiles(); len(got) != 0 {
		t.Errorf("still modified: %q", got)
	}
	onlyEntries(t, h.path("engines"), header.Sha256)
	if inode(t, filepath.Join(path, "usr/bin/llama-server")) != untouched {
		t.Error("a file that was as it should be was replaced under a running server")
	}

	if err := os.RemoveAll(filepath.Join(path, "usr")); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(path, "usr"), "a file where a folder was")
	if _, err := c.pushEngine(header, engine()); err != nil {
		t.Fatal(err)
	}
	if seen := c.observeEngine(path); len(seen.GetModifiedFiles()) != 0 || mustRead(t, filepath.Join(path, "bin/llama-server")) != "program" {
		t.Errorf("seen: %v", seen)
	}
}

func TestBadEngineLeavesNothing(t *testing.T) {
	hostile := archivetest.Zstd(archivetest.Tar(archivetest.File("ok", "x"), archivetest.File("../escaped", "x")))
	for name, test := range map[string]struct {
		content []byte
		change  func(*agentpb.EngineHeader)
		want    agentpb.Reason
	}{
		"hostile":        {hostile, func(*agentpb.EngineHeader) {}, agentpb.Reason_BAD_ARCHIVE},
		"other format":   {engine(), func(h *agentpb.EngineHeader) { h.Format = "tar.gz" }, agentpb.Reason_BAD_ARCHIVE},
		"unknown format": {engine(), func(h *agentpb.EngineHeader) { h.Format = "zip" }, agentpb.Reason_INVALID},
		"cut off":        {engine(), func(h *agentpb.EngineHeader) { h.Size++ }, agentpb.Reason_DIGEST_MISMATCH},
		"other name":     {engine(), func(h *agentpb.EngineHeader) { h.Claim.Id += "x" }, agentpb.Reason_INVALID},
		"other digest": {engine(), func(h *agentpb.EngineHeader) {
			h.Sha256 = strings.Repeat("0", 64)
			h.Claim.Id = filepath.Join(filepath.Dir(h.Claim.Id), h.Sha256)
		}, agentpb.Reason_DIGEST_MISMATCH},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			c := h.connectToChange("s")
			header := engineHeader(h.path("engines"), test.content)
			test.change(header)
			_, err := c.pushEngine(header, test.content)
			wantReason(t, err, test.want)
			onlyEntries(t, h.path(""))
			if owned := c.mustListOwned(); len(owned) != 0 {
				t.Errorf("owned: %v", owned)
			}
		})
	}
}

func TestFolderOfUnknownOriginIsModifiedAsAWhole(t *testing.T) {
	h := newHost(t)
	c := h.connect()
	path := h.path("engines/" + strings.Repeat("a", 64))
	mustWrite(t, filepath.Join(path, "x"), "x")
	if seen := c.observeEngine(path); !seen.GetExists() || !slices.Equal(seen.GetModifiedFiles(), []string{"."}) {
		t.Errorf("seen: %v", seen)
	}
}
