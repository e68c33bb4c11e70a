// Package remotetest is one conformance suite for every kind of connection to a host.
//
// It exists so that a local target, a plain SSH server and a virtual machine are held to the
// same promises: what is deployed, observed and removed, and what an interrupted connection
// looks like, must not depend on the way to the host.
package remotetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/transfer"
)

// Host is a host under test.
type Host struct {
	Target  remote.Target
	Options remote.Options

	// Dir is a folder on the host, made for the test, in which it may do as it likes.
	Dir string
	// Owner and Group of what the agent may make there.
	Owner, Group string

	// Write makes a file on the host behind llmhost's back, and Kill ends all agents of the
	// target there as a crash would. Cut breaks the way to the host; nil where there is none.
	Write func(t *testing.T, path, content string)
	Kill  func(t *testing.T)
	Cut   func(t *testing.T)
}

// Run runs the suite. fresh makes a host that no other test uses.
func Run(t *testing.T, fresh func(t *testing.T) Host) {
	for name, test := range map[string]func(*testing.T, Host){
		"Hello":                      hello,
		"FileRoundTrip":              fileRoundTrip,
		"ForeignFileIsRefused":       foreignFile,
		"BigContent":                 bigContent,
		"ConcurrentCalls":            concurrentCalls,
		"Cancel":                     cancelCall,
		"CancelBulk":                 cancelBulk,
		"BulkModel":                  bulkModel,
		"BulkModelWrongDigest":       bulkWrongDigest,
		"ModelFromTheHost":           modelFromTheHost,
		"VerifyModel":                verifyModel,
		"ListAndCollectModels":       listAndCollect,
		"Program":                    program,
		"Lease":                      lease,
		"ChangesNeedTheLease":        leaseRequired,
		"KilledAgentIsStartedAgain":  killedAgent,
		"CutConnectionIsUnreachable": cutConnection,
		"RoundTrips":                 roundTrips,
		"CloseEndsTheAgent":          closeEnds,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

const patience = 60 * time.Second

// Dial connects and fails the test otherwise.
func (h Host) Dial(t *testing.T) *remote.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := remote.Dial(ctx, h.Target, h.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (h Host) leased(t *testing.T) *remote.Conn {
	t.Helper()
	c := h.Dial(t)
	if err := c.Lease(within(t)); err != nil {
		t.Fatal(err)
	}
	return c
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (h Host) claim(kind, id string) *agentpb.Claim {
	return &agentpb.Claim{Kind: kind, Id: id, Urn: "urn:pulumi:test::p::" + kind + "::" + path.Base(id), Stack: "organization/p/test"}
}

func (h Host) put(name string, content []byte) *agentpb.PutFileRequest {
	file := path.Join(h.Dir, name)
	return &agentpb.PutFileRequest{Claim: h.claim("File", file), Content: content, Mode: 0o640, Owner: h.Owner, Group: h.Group}
}

func (h Host) observe(t *testing.T, c *remote.Conn, name string) *agentpb.PathState {
	t.Helper()
	state, err := c.Agent().ObservePath(within(t), &agentpb.ObservePathRequest{Path: path.Join(h.Dir, name), MaxContent: 32 << 20, Kind: "File"})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func wantReason(t *testing.T, err error, want agentpb.Reason, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %v", want)
	}
	if got := remote.ReasonOf(err); got != want {
		t.Fatalf("reason %v, want %v: %v", got, want, err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
	if strings.Contains(err.Error(), "rpc error") {
		t.Errorf("the error shows gRPC's words: %v", err)
	}
}

func hello(t *testing.T, h Host) {
	c := h.Dial(t)
	got := c.Hello()
	if got.GetProtocol() != agentpb.Protocol {
		t.Errorf("protocol %d, want %d", got.GetProtocol(), agentpb.Protocol)
	}
	if got.GetArchitecture() != "amd64" && got.GetArchitecture() != "arm64" {
		t.Errorf("architecture %q", got.GetArchitecture())
	}
	if got.GetHostname() == "" || got.GetAgentVersion() == "" {
		t.Errorf("the agent does not say where and what it is: %v", got)
	}
	if _, err := c.Agent().Ping(within(t), &agentpb.PingRequest{}); err != nil {
		t.Error(err)
	}
}

func fileRoundTrip(t *testing.T, h Host) {
	c := h.leased(t)
	content := []byte("first line\nsecond\x00line\n")

	if h.observe(t, c, "new").GetExists() {
		t.Fatal("the file is there before it was put")
	}
	put := h.put("new", content)
	made, err := c.Agent().PutFile(within(t), put)
	if err != nil {
		t.Fatal(err)
	}
	if !made.GetChanged() || made.GetGeneration() == 0 {
		t.Errorf("the first put says %v", made)
	}
	state := h.observe(t, c, "new")
	if diff := cmp.Diff(content, state.GetContent()); diff != "" {
		t.Errorf("content: %s", diff)
	}
	if !state.GetExists() || state.GetMode() != 0o640 || state.GetOwner() != h.Owner || state.GetGroup() != h.Group || state.GetSha256() != digest(content) {
		t.Errorf("observed %v", state)
	}
	if state.GetOwned().GetUrn() != put.GetClaim().GetUrn() {
		t.Errorf("the owner is %q, want %q", state.GetOwned().GetUrn(), put.GetClaim().GetUrn())
	}

	put.Claim.Generation = made.GetGeneration()
	again, err := c.Agent().PutFile(within(t), put)
	if err != nil {
		t.Fatal(err)
	}
	if again.GetChanged() {
		t.Error("the same put again changed something")
	}

	put.Claim.Generation = again.GetGeneration()
	removed, err := c.Agent().Remove(within(t), &agentpb.RemoveRequest{Claim: put.GetClaim()})
	if err != nil {
		t.Fatal(err)
	}
	if !removed.GetRemoved() {
		t.Errorf("kept because %q", removed.GetKeptBecause())
	}
	if h.observe(t, c, "new").GetExists() {
		t.Error("the file is still there after it was removed")
	}
}

func foreignFile(t *testing.T, h Host) {
	c := h.leased(t)
	h.Write(t, path.Join(h.Dir, "theirs"), "precious")
	put := h.put("theirs", []byte("ours"))
	_, err := c.Agent().PutFile(within(t), put)
	wantReason(t, err, agentpb.Reason_NOT_OWNED, path.Join(h.Dir, "theirs"), "adopt")
	if got := string(h.observe(t, c, "theirs").GetContent()); got != "precious" {
		t.Errorf("the file is now %q", got)
	}
	put.Claim.Adopt = true
	if _, err := c.Agent().PutFile(within(t), put); err != nil {
		t.Fatal(err)
	}
	if got := string(h.observe(t, c, "theirs").GetContent()); got != "ours" {
		t.Errorf("after it was adopted the file is %q", got)
	}
}

func bigContent(t *testing.T, h Host) {
	c := h.leased(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 12<<20/16)
	if _, err := c.Agent().PutFile(within(t), h.put("big", content)); err != nil {
		t.Fatal(err)
	}
	if got := h.observe(t, c, "big"); got.GetSha256() != digest(content) || !bytes.Equal(got.GetContent(), content) {
		t.Errorf("%d bytes came back of %d", len(got.GetContent()), len(content))
	}
}

func concurrentCalls(t *testing.T, h Host) {
	c := h.leased(t)
	const n = 40
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			_, errs[i] = c.Agent().PutFile(within(t), h.put(fmt.Sprintf("f%d", i), []byte(fmt.Sprint(i))))
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if got := string(h.observe(t, c, fmt.Sprintf("f%d", i)).GetContent()); got != fmt.Sprint(i) {
			t.Errorf("file %d holds %q", i, got)
		}
	}
}

func cancelCall(t *testing.T, h Host) {
	c := h.Dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Agent().Facts(ctx, &agentpb.FactsRequest{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a cancellation", err)
	}
	if _, err := c.Agent().Ping(within(t), &agentpb.PingRequest{}); err != nil {
		t.Errorf("the connection is of no use after a cancelled call: %v", err)
	}
}

// pushModel sends a model whose header promises a digest.
func (h Host) pushModel(ctx context.Context, c *remote.Conn, name string, content []byte, sha string, afterFirst func()) error {
	header := &agentpb.ModelHeader{
		Claim: h.claim("Model", path.Join(h.Dir, name)), Sha256: sha, Size: uint64(len(content)),
		Mode: 0o640, Owner: h.Owner, Group: h.Group, SessionId: c.Session(),
	}
	_, err := transfer.Push(ctx, c, header, fakeSource{content, afterFirst}, transfer.Options{})
	return err
}

// fakeSource is a file in memory. It calls afterFirst, if there is one, when some of it was read.
type fakeSource struct {
	content    []byte
	afterFirst func()
}

func (s fakeSource) Files() []transfer.File { return []transfer.File{{Size: uint64(len(s.content))}} }
func (s fakeSource) ID() string             { return digest(s.content) }
func (s fakeSource) Close() error           { return nil }
func (s fakeSource) Open(_ context.Context, _ int, offset uint64) (io.ReadCloser, error) {
	rest := bytes.NewReader(s.content[offset:])
	if s.afterFirst == nil {
		return io.NopCloser(rest), nil
	}
	return io.NopCloser(io.MultiReader(io.LimitReader(rest, 2<<20), call(s.afterFirst), rest)), nil
}

// call is a reader without bytes that calls a function.
type call func()

func (c call) Read([]byte) (int, error) {
	c()
	return 0, io.EOF
}

func (h Host) observeModel(t *testing.T, c *remote.Conn, name string) *agentpb.ModelState {
	t.Helper()
	state, err := c.Agent().ObserveModel(within(t), &agentpb.ObserveModelRequest{Path: path.Join(h.Dir, name)})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func model() []byte { return bytes.Repeat([]byte("model bytes "), 1<<20) }

func bulkModel(t *testing.T, h Host) {
	c := h.leased(t)
	content := model()
	if err := h.pushModel(within(t), c, "m.gguf", content, digest(content), nil); err != nil {
		t.Fatal(err)
	}
	if got := h.observeModel(t, c, "m.gguf"); !got.GetExists() || got.GetSha256() != digest(content) || got.GetSize() != uint64(len(content)) {
		t.Errorf("observed %v", got)
	}
	if _, err := c.Agent().Ping(within(t), &agentpb.PingRequest{}); err != nil {
		t.Errorf("the control channel ended with the bulk channel: %v", err)
	}
}

func bulkWrongDigest(t *testing.T, h Host) {
	c := h.leased(t)
	err := h.pushModel(within(t), c, "m.gguf", model(), digest([]byte("something else")), nil)
	wantReason(t, err, agentpb.Reason_DIGEST_MISMATCH)
	if h.observeModel(t, c, "m.gguf").GetExists() {
		t.Error("a model with a wrong digest has its final name")
	}
}

func cancelBulk(t *testing.T, h Host) {
	c := h.leased(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := h.pushModel(ctx, c, "m.gguf", model(), digest(model()), cancel)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a cancellation", err)
	}
	if h.observeModel(t, c, "m.gguf").GetExists() {
		t.Error("half a model has its final name")
	}
}

func lease(t *testing.T, h Host) {
	first := h
	first.Options.Session, first.Options.Holder = "session-1", "alice@laptop"
	a := first.leased(t)
	if err := a.Lease(within(t)); err != nil {
		t.Errorf("the holder can't take it a second time: %v", err)
	}

	same := first.Dial(t)
	if err := same.Lease(within(t)); err != nil {
		t.Errorf("the same session is refused: %v", err)
	}

	second := h
	second.Options.Session, second.Options.Holder = "session-2", "bob@desk"
	b := second.Dial(t)
	err := b.Lease(within(t))
	wantReason(t, err, agentpb.Reason_LEASE_HELD, "alice@laptop")
	h.observe(t, b, "nothing") // reading needs no lease
	same.Close()
	a.Close()
	second.Options.LeaseWait = patience // the host notices the holder's end in its own time
	if err := second.Dial(t).Lease(within(t)); err != nil {
		t.Errorf("the lease is not free after its holder has gone: %v", err)
	}
}

func leaseRequired(t *testing.T, h Host) {
	c := h.Dial(t)
	_, err := c.Agent().PutFile(within(t), h.put("new", []byte("x")))
	wantReason(t, err, agentpb.Reason_LEASE_REQUIRED)
	if h.observe(t, c, "new").GetExists() {
		t.Error("the file was made without the lease")
	}
}

func killedAgent(t *testing.T, h Host) {
	pool := remote.NewPool(h.Options)
	defer pool.Close()
	first, err := pool.Conn(within(t), h.Target)
	if err != nil {
		t.Fatal(err)
	}
	h.Kill(t)
	awaitDeath(t, first)
	_, err = first.Agent().Ping(within(t), &agentpb.PingRequest{})
	if !errors.Is(err, remote.ErrUnreachable) {
		t.Errorf("on the dead connection: got %v, want unreachable", err)
	}
	second, err := pool.Conn(within(t), h.Target)
	if err != nil {
		t.Fatal(err)
	}
	if second == first {
		t.Fatal("the pool returned the dead connection")
	}
	if _, err := second.Agent().Ping(within(t), &agentpb.PingRequest{}); err != nil {
		t.Error(err)
	}
	if third, err := pool.Conn(within(t), h.Target); err != nil || third != second {
		t.Errorf("the pool made one more connection (%v)", err)
	}
}

func cutConnection(t *testing.T, h Host) {
	if h.Cut == nil {
		h.Cut = h.Kill // there is no way to cut, only an end to break off
	}
	c := h.leased(t)
	if _, err := c.Agent().PutFile(within(t), h.put("mine", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	h.Cut(t)
	awaitDeath(t, c)
	state, err := c.Agent().ObservePath(within(t), &agentpb.ObservePathRequest{Path: path.Join(h.Dir, "mine"), Kind: "File"})
	if !errors.Is(err, remote.ErrUnreachable) {
		t.Errorf("got %v and %v, want unreachable: a host that is out of reach has lost nothing", state, err)
	}
	if c.Err() == nil {
		t.Error("the dead connection does not say why it died")
	}
}

func awaitDeath(t *testing.T, c *remote.Conn) {
	t.Helper()
	select {
	case <-c.Done():
	case <-within(t).Done():
		t.Fatal("the connection does not notice that it is dead")
	}
}

func roundTrips(t *testing.T, h Host) {
	c := h.Dial(t)
	before := c.RoundTrips()
	for range 3 {
		if _, err := c.Agent().ListOwned(within(t), &agentpb.ListOwnedRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.RoundTrips() - before; got != 3 {
		t.Errorf("3 calls were counted as %d", got)
	}
}

func closeEnds(t *testing.T, h Host) {
	c := h.Dial(t)
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	_, err := c.Agent().Ping(within(t), &agentpb.PingRequest{})
	if !errors.Is(err, remote.ErrUnreachable) {
		t.Errorf("after Close: got %v, want unreachable", err)
	}
}

// LocalWrite is Host.Write for a host that is this machine.
func LocalWrite(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
