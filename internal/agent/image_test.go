package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/llmhost/llmhost/internal/agent/account"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/container"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// fakeDocker is a docker that isn't there: an archive is a list of ids, an image is a file, and
// its errors are those of Docker 26. What the real ones do is tested in a VM.
const fakeDocker = `#!/bin/sh
images=%q
echo "$*" >> "$images/../calls"
key() { printf %%s "$1" | tr / _; }
case "$1 $2" in
"image inspect")
	if [ ! -e "$images/$(key "$6")" ]; then echo "Error response from daemon: No such image: $6" >&2; exit 1; fi
	case "$6" in
	*@*) printf '{"Id":"sha256:%%064d","RepoDigests":["%%s"],"Size":7}' 1 "$6" ;;
	*) printf '{"Id":"%%s","RepoDigests":[],"Size":7,"RepoTags":["a:1"]}' "$6" ;;
	esac ;;
"image ls") ls "$images" | grep ^sha256 ; true ;;
"image rm")
	if [ -e "$images/../used" ]; then echo "Error response from daemon: conflict: unable to delete $4 (must be forced) - image is being used by stopped container 12" >&2; exit 1; fi
	rm "$images/$(key "$4")" ;;
"load --quiet") while read -r id; do touch "$images/$id"; done ;;
"pull --")
	if [ -e "$images/../offline" ]; then echo "Error response from daemon: Get https://r.test/v2/: no route to host" >&2; exit 1; fi
	echo "$3: Pulling from test"; touch "$images/$(key "$3")" ;;
*) echo "unknown command: $*" >&2; exit 125 ;;
esac
`

const (
	idA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// imageHost is an agent with a fake docker.
type imageHost struct {
	agentpb.AgentClient
	t      *testing.T
	server *Server
	root   string
}

func newImageHost(t *testing.T) *imageHost {
	t.Helper()
	h := &imageHost{t: t, root: t.TempDir()}
	bin := filepath.Join(h.root, "bin")
	for _, dir := range []string{bin, filepath.Join(h.root, "images")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf(fakeDocker, filepath.Join(h.root, "images"))
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s := NewServer(Options{Version: "test", StateDir: filepath.Join(h.root, "state")})
	s.containers = container.System{Accounts: account.Database(filepath.Join(h.root, "etc")), Path: bin + ":/usr/bin:/bin"}
	h.server = s
	g := grpc.NewServer()
	agentpb.RegisterAgentServer(g, s)
	listener := bufconn.Listen(1 << 20)
	go g.Serve(listener)
	conn, err := grpc.NewClient("passthrough:///agent", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); g.Stop(); s.Close() })
	h.AgentClient = agentpb.NewAgentClient(conn)
	if _, err := h.AcquireLease(t.Context(), &agentpb.AcquireLeaseRequest{SessionId: "s", Holder: "test"}); err != nil {
		t.Fatal(err)
	}
	return h
}

func imageClaim(reference string) *agentpb.Claim {
	return &agentpb.Claim{Kind: "Image", Id: "docker/root/" + reference, Urn: "urn", Stack: "stack"}
}

// load sends an archive that says which ids it holds.
func (h *imageHost) load(c *agentpb.Claim, archive string) (*agentpb.ChangeResponse, error) {
	h.t.Helper()
	sum := sha256.Sum256([]byte(archive))
	return h.send(&agentpb.ImageHeader{Claim: c, Sha256: hex.EncodeToString(sum[:]), Size: uint64(len(archive)), SessionId: "s"}, archive)
}

func (h *imageHost) send(header *agentpb.ImageHeader, archive string) (*agentpb.ChangeResponse, error) {
	h.t.Helper()
	stream, err := h.LoadImage(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	_ = stream.Send(&agentpb.LoadImageRequest{Part: &agentpb.LoadImageRequest_Header{Header: header}})
	if archive != "" {
		_ = stream.Send(&agentpb.LoadImageRequest{Part: &agentpb.LoadImageRequest_Data{Data: []byte(archive)}})
	}
	return stream.CloseAndRecv() // it has the error of what could not be sent, too
}

func (h *imageHost) observe(reference string) *agentpb.ImageState {
	h.t.Helper()
	seen, err := h.ObserveImage(h.t.Context(), &agentpb.ObserveImageRequest{Id: imageClaim(reference).GetId()})
	if err != nil {
		h.t.Fatal(err)
	}
	return seen
}

// images are those that the fake has.
func (h *imageHost) images() string {
	h.t.Helper()
	entries, err := os.ReadDir(filepath.Join(h.root, "images"))
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func (h *imageHost) touch(name string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.root, name), nil, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *imageHost) remove(c *agentpb.Claim, generation uint64) *agentpb.RemoveResponse {
	h.t.Helper()
	c.Generation = generation
	gone, err := h.Remove(h.t.Context(), &agentpb.RemoveRequest{Claim: c})
	if err != nil {
		h.t.Fatal(err)
	}
	return gone
}

func (h *imageHost) owned() int {
	h.t.Helper()
	list, err := h.ListOwned(h.t.Context(), &agentpb.ListOwnedRequest{})
	if err != nil {
		h.t.Fatal(err)
	}
	return len(list.GetOwned())
}

func refusedWith(t *testing.T, err error, want agentpb.Reason) bool {
	t.Helper()
	if err == nil {
		return false
	}
	reason, _ := reasonOf(t, err)
	return reason == want.String()
}

func TestImageIsLoadedAndRemoved(t *testing.T) {
	h := newImageHost(t)
	if h.observe(idA).GetExists() {
		t.Fatal("it is there before it was loaded")
	}
	put, err := h.load(imageClaim(idA), idA+"\n")
	if err != nil || !put.GetChanged() {
		t.Fatal(put, err)
	}
	if seen := h.observe(idA); !seen.GetExists() || seen.GetImageId() != idA || seen.GetSize() != 7 || !seen.GetOwned().GetComplete() {
		t.Errorf("seen: %v", seen)
	}
	left, err := os.ReadDir(filepath.Join(h.root, "state", "images"))
	if err != nil || len(left) > 0 {
		t.Errorf("of the archive is left: %v, %v", left, err)
	}
	c := imageClaim(idA)
	c.Generation = put.GetGeneration()
	if again, err := h.send(&agentpb.ImageHeader{Claim: c, Sha256: idA[7:], SessionId: "s"}, ""); err != nil || again.GetChanged() {
		t.Errorf("an image that is there needs no bytes: %v, %v", again, err)
	}
	if gone := h.remove(c, put.GetGeneration()); !gone.GetRemoved() || h.images() != "" || h.owned() != 0 {
		t.Errorf("removed: %v, left: %s", gone, h.images())
	}
}

// Neither an archive that isn't the pinned one nor an image that isn't stays on the host.
func TestOtherImagesAreRefused(t *testing.T) {
	h := newImageHost(t)
	sum := sha256.Sum256([]byte(idA + "\n"))
	header := &agentpb.ImageHeader{Claim: imageClaim(idA), Sha256: hex.EncodeToString(sum[:]), Size: uint64(len(idB) + 1), SessionId: "s"}
	if _, err := h.send(header, idB+"\n"); !refusedWith(t, err, agentpb.Reason_DIGEST_MISMATCH) {
		t.Errorf("another archive: %v", err)
	}
	if calls, _ := os.ReadFile(filepath.Join(h.root, "calls")); strings.Contains(string(calls), "load") {
		t.Errorf("a runtime was given an archive that was not the pinned one:\n%s", calls)
	}
	_, err := h.load(imageClaim(idA), idB+"\n")
	if !refusedWith(t, err, agentpb.Reason_DIGEST_MISMATCH) || !strings.Contains(err.Error(), idB) {
		t.Errorf("another image: %v", err)
	}
	if h.images() != "" || h.owned() != 0 {
		t.Errorf("left: %s, %d entries in the ledger", h.images(), h.owned())
	}
	for _, id := range []string{"docker/root/nginx:latest", "docker/root/--help", "docker/llm-a/" + idA, "runc/root/" + idA, idA} {
		c := imageClaim(idA)
		c.Id = id
		if _, err := h.load(c, idA+"\n"); !refusedWith(t, err, agentpb.Reason_INVALID) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// What was there before llmhost, and what a container uses, stays.
func TestImagesOfOthersStay(t *testing.T) {
	h := newImageHost(t)
	h.touch("images/" + idA)
	put, err := h.load(imageClaim(idA), idA+"\n")
	if err != nil || put.GetChanged() {
		t.Fatal(put, err)
	}
	if gone := h.remove(imageClaim(idA), put.GetGeneration()); gone.GetRemoved() || !h.observe(idA).GetExists() {
		t.Errorf("an image that was there before is gone: %v", gone)
	}
	if put, err = h.load(imageClaim(idB), idB+"\n"); err != nil {
		t.Fatal(err)
	}
	h.touch("used")
	if gone := h.remove(imageClaim(idB), put.GetGeneration()); gone.GetRemoved() || !strings.Contains(gone.GetKeptBecause(), "is being used by stopped container") {
		t.Errorf("an image in use: %v", gone)
	}
}

func TestImageIsPulled(t *testing.T) {
	h := newImageHost(t)
	const reference = "r.test/vllm/vllm-openai@" + idA
	pull := func() (result *agentpb.ChangeResponse, said []string, err error) {
		events, err := h.PullImage(t.Context(), &agentpb.PullImageRequest{Claim: imageClaim(reference)})
		for err == nil {
			var e *agentpb.PullImageEvent
			if e, err = events.Recv(); err == nil && e.GetResult() != nil {
				return e.GetResult(), said, nil
			}
			said = append(said, e.GetProgress())
		}
		return nil, said, err
	}
	h.touch("offline")
	if _, _, err := pull(); err == nil || !strings.Contains(err.Error(), "no route to host") || h.owned() != 0 {
		t.Errorf("without a network: %v, %d entries in the ledger", err, h.owned())
	}
	if err := os.Remove(filepath.Join(h.root, "offline")); err != nil {
		t.Fatal(err)
	}
	put, said, err := pull()
	if err != nil || !put.GetChanged() || len(said) == 0 || !strings.Contains(said[0], "Pulling from test") {
		t.Fatal(put, said, err)
	}
	if seen := h.observe(reference); !seen.GetExists() {
		t.Errorf("seen: %v", seen)
	}
	if gone := h.remove(imageClaim(reference), put.GetGeneration()); !gone.GetRemoved() || h.images() != "" {
		t.Errorf("removed: %v, left: %s", gone, h.images())
	}
}

// A host without a runtime has no images, and says what to install when it needs one.
func TestHostWithoutRuntime(t *testing.T) {
	h := newImageHost(t)
	h.server.containers.Path = h.root
	if h.observe(idA).GetExists() {
		t.Error("an image without a runtime")
	}
	_, err := h.load(imageClaim(idA), idA+"\n")
	if !refusedWith(t, err, agentpb.Reason_NO_TOOL) || !strings.Contains(err.Error(), "docker is missing") {
		t.Errorf("%v", err)
	}
	_, err = h.server.containers.Runtime("podman", "llm-a")
	if fault.ReasonOf(err) != agentpb.Reason_NO_SUCH_USER {
		t.Errorf("a user who isn't there: %v", err)
	}
}
