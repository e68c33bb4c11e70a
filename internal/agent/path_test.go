package agent_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

func TestFileIsWrittenObservedAndRemoved(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("a/b/config")
	put := c.mustPutFile(file(path, "hello"))
	if !put.GetChanged() || put.GetGeneration() == 0 {
		t.Errorf("put: %v", put)
	}
	seen, err := c.ObservePath(t.Context(), &agentpb.ObservePathRequest{Path: path, MaxContent: 3, Kind: "File"})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("hello"))
	if !seen.GetExists() || seen.GetType() != "file" || seen.GetMode() != 0o640 || seen.GetSize() != 5 || string(seen.GetContent()) != "hel" ||
		!seen.GetContentTruncated() || seen.GetSha256() != hex.EncodeToString(sum[:]) || !seen.GetOwned().GetComplete() || seen.GetOwned().GetUrn() != testURN {
		t.Errorf("seen: %v", seen)
	}
	onlyEntries(t, h.path("a/b"), "config")

	gone := c.mustRemove(claim("File", path), put.GetGeneration())
	if !gone.GetRemoved() || exists(h.path("a")) {
		t.Errorf("removed: %v; its folders are there: %v", gone, exists(h.path("a")))
	}
	if owned := c.mustListOwned(); len(owned) != 0 {
		t.Errorf("the ledger still has %v", owned)
	}
	seen, err = c.ObservePath(t.Context(), &agentpb.ObservePathRequest{Path: path})
	if err != nil || seen.GetExists() {
		t.Errorf("seen after removal: %v, %v", seen, err)
	}
}

func TestFileThatIsAsAskedIsNotTouched(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("config")
	req := file(path, "hello")
	req.Claim.Generation = c.mustPutFile(req).GetGeneration()
	before := inode(t, path)

	if again := c.mustPutFile(req); again.GetChanged() || inode(t, path) != before {
		t.Errorf("put again: %v", again)
	}
	req.Mode = 0o600
	if again := c.mustPutFile(req); !again.GetChanged() || inode(t, path) != before {
		t.Errorf("a change of the mode alone has replaced the file, or has done nothing: %v", again)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	req.Content = []byte("HELLO")
	if again := c.mustPutFile(req); !again.GetChanged() || inode(t, path) == before || mustRead(t, path) != "HELLO" {
		t.Errorf("a change of the content of the same length: %v", again)
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

func TestLeftoversOfAKilledWriteAreCleanedUp(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	mustWrite(t, h.path("other"), "")
	sum := sha256.Sum256([]byte("config"))
	mustWrite(t, h.path(fmt.Sprintf(".llmhost-%x-000000000000", sum[:6])), "half of i")
	c.mustPutFile(file(h.path("config"), "hello"))
	onlyEntries(t, h.path(""), "config", "other")
}

func TestLinksAreNotFollowed(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	mustWrite(t, h.path("target"), "precious")
	if err := os.Symlink(h.path("target"), h.path("link")); err != nil {
		t.Fatal(err)
	}
	req := file(h.path("link"), "overwritten")
	req.Claim.Adopt = true
	_, err := c.PutFile(t.Context(), req)
	wantReason(t, err, agentpb.Reason_WRONG_TYPE)
	if got := mustRead(t, h.path("target")); got != "precious" {
		t.Errorf("the link's target is now %q", got)
	}
	seen, err := c.ObservePath(t.Context(), &agentpb.ObservePathRequest{Path: h.path("link"), MaxContent: 100})
	if err != nil || seen.GetType() != "symlink" || len(seen.GetContent()) != 0 {
		t.Errorf("the link is seen as %v, %v", seen, err)
	}

	// A link that has taken the place of our file stays, and what it points to does too.
	own := c.mustPutFile(file(h.path("own"), "ours"))
	if err := os.Remove(h.path("own")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(h.path("target"), h.path("own")); err != nil {
		t.Fatal(err)
	}
	gone := c.mustRemove(claim("File", h.path("own")), own.GetGeneration())
	if gone.GetRemoved() || !strings.Contains(gone.GetKeptBecause(), "symlink") || !exists(h.path("own")) || mustRead(t, h.path("target")) != "precious" {
		t.Errorf("removed: %v", gone)
	}
}

func TestWrongRequestsAreRefused(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	if err := os.Mkdir(h.path("dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, h.path("plain"), "")
	for name, test := range map[string]struct {
		change func(*agentpb.PutFileRequest)
		want   agentpb.Reason
	}{
		"relative path":        {func(r *agentpb.PutFileRequest) { r.Claim.Id = "etc/x" }, agentpb.Reason_INVALID},
		"unclean path":         {func(r *agentpb.PutFileRequest) { r.Claim.Id = h.path("dir") + "/../x" }, agentpb.Reason_INVALID},
		"other kind":           {func(r *agentpb.PutFileRequest) { r.Claim.Kind = "Model" }, agentpb.Reason_INVALID},
		"no owner's name":      {func(r *agentpb.PutFileRequest) { r.Claim.Urn = "" }, agentpb.Reason_INVALID},
		"no claim":             {func(r *agentpb.PutFileRequest) { r.Claim = nil }, agentpb.Reason_INVALID},
		"mode":                 {func(r *agentpb.PutFileRequest) { r.Mode = 0o10000 }, agentpb.Reason_INVALID},
		"a directory is there": {func(r *agentpb.PutFileRequest) { r.Claim.Id = h.path("dir"); r.Claim.Adopt = true }, agentpb.Reason_WRONG_TYPE},
		"below a file":         {func(r *agentpb.PutFileRequest) { r.Claim.Id = h.path("plain/x") }, agentpb.Reason_WRONG_TYPE},
		"no such user":         {func(r *agentpb.PutFileRequest) { r.Owner = "nobody-of-this-name" }, agentpb.Reason_NO_SUCH_USER},
		"no such group":        {func(r *agentpb.PutFileRequest) { r.Group = "no-group-of-this-name" }, agentpb.Reason_NO_SUCH_USER},
	} {
		t.Run(name, func(t *testing.T) {
			req := file(h.path("x"), "")
			test.change(req)
			_, err := c.PutFile(t.Context(), req)
			wantReason(t, err, test.want)
			if owned := c.mustListOwned(); len(owned) != 0 {
				t.Errorf("the ledger has %v", owned)
			}
		})
	}
}

func TestDirectoryIsMadeAndRemovedWhenEmpty(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("models")
	req := &agentpb.PutDirectoryRequest{Claim: claim("Directory", path), Mode: 0o2750, Owner: me(), Group: myGroup()}
	put, err := c.PutDirectory(t.Context(), req)
	if err != nil || !put.GetChanged() {
		t.Fatal(put, err)
	}
	seen, err := c.ObservePath(t.Context(), &agentpb.ObservePathRequest{Path: path, Kind: "Directory"})
	if err != nil || seen.GetType() != "directory" || seen.GetMode() != 0o2750 || seen.GetOwned() == nil {
		t.Errorf("seen: %v, %v", seen, err)
	}
	req.Claim.Generation = put.GetGeneration()
	if again, err := c.PutDirectory(t.Context(), req); err != nil || again.GetChanged() {
		t.Errorf("put again: %v, %v", again, err)
	}
	req.Mode = 0o700
	if again, err := c.PutDirectory(t.Context(), req); err != nil || !again.GetChanged() {
		t.Errorf("another mode: %v, %v", again, err)
	}

	mustWrite(t, filepath.Join(path, "model.gguf"), "x")
	kept := c.mustRemove(claim("Directory", path), put.GetGeneration())
	if kept.GetRemoved() || !strings.Contains(kept.GetKeptBecause(), "not empty") || !exists(path) {
		t.Errorf("a folder with something in it: %v", kept)
	}
	if err := os.Remove(filepath.Join(path, "model.gguf")); err != nil {
		t.Fatal(err)
	}
	if gone := c.mustRemove(claim("Directory", path), put.GetGeneration()); !gone.GetRemoved() || exists(path) {
		t.Errorf("an empty folder: %v", gone)
	}
}

func TestFoldersMadeForAFileCanBeDeclaredLater(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	put := c.mustPutFile(file(h.path("models/x"), "x"))
	dir := &agentpb.PutDirectoryRequest{Claim: claim("Directory", h.path("models")), Mode: 0o755, Owner: me(), Group: myGroup()}
	if _, err := c.PutDirectory(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	c.mustRemove(claim("File", h.path("models/x")), put.GetGeneration())
	if !exists(h.path("models")) {
		t.Error("the declared folder went with the file that it was first made for")
	}
}

func TestManyFilesAtOnce(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	var wait sync.WaitGroup
	for i := range 40 {
		wait.Go(func() {
			path := h.path(fmt.Sprintf("same/new/folder/%d", i%20))
			if _, err := c.PutFile(t.Context(), file(path, strings.Repeat("x", i%20))); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if owned := c.mustListOwned(); len(owned) != 20 {
		t.Errorf("%d entries in the ledger", len(owned))
	}
}

func TestBigContent(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB
	c.mustPutFile(file(h.path("big"), string(content)))
	seen, err := c.ObservePath(t.Context(), &agentpb.ObservePathRequest{Path: h.path("big"), MaxContent: 3 << 20})
	if err != nil || seen.GetContentTruncated() || !bytes.Equal(seen.GetContent(), content) {
		t.Errorf("size %d, truncated %v, %v", len(seen.GetContent()), seen.GetContentTruncated(), err)
	}
}

func TestOddThingsAreDescribed(t *testing.T) {
	h := newHost(t)
	c := h.connect()
	if err := syscall.Mkfifo(h.path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{h.path("pipe"): "other", h.path(""): "directory"} {
		seen, err := c.ObservePath(t.Context(), &agentpb.ObservePathRequest{Path: filepath.Clean(path)})
		if err != nil || seen.GetType() != want {
			t.Errorf("%s: %v, %v", path, seen, err)
		}
	}
	mustWrite(t, h.path("plain"), "")
	seen, err := c.ObservePath(t.Context(), &agentpb.ObservePathRequest{Path: h.path("plain/below")})
	if err != nil || seen.GetExists() {
		t.Errorf("below a file: %v, %v", seen, err)
	}
}
