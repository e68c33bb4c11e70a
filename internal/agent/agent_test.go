package agent_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/llmhost/llmhost/internal/agent"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

const (
	testStack = "project/stack"
	testURN   = "urn:pulumi:stack::project::llmhost:index:Thing::name"
)

// host is a machine's worth of folders and the agents that work in them.
type host struct {
	t    *testing.T
	root string
}

func newHost(t *testing.T) *host {
	t.Helper()
	return &host{t: t, root: t.TempDir()}
}

func (h *host) path(name string) string { return filepath.Join(h.root, "files", name) }
func (h *host) stateDir() string        { return filepath.Join(h.root, "state") }

// client is a connection to one agent.
type client struct {
	agentpb.AgentClient
	t    *testing.T
	host *host
	ends func() error // closes the connection and waits for the agent's end
}

// connect starts an agent and greets it.
func (h *host) connect() *client {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Join(h.root, "files"), 0o755); err != nil {
		h.t.Fatal(err)
	}
	c := serve(h.t, agent.Options{Version: "test"})
	c.host = h
	if _, err := c.Hello(h.t.Context(), &agentpb.HelloRequest{Protocol: agentpb.Protocol, StateDir: h.stateDir()}); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// connectToChange is connect with the lease of a session.
func (h *host) connectToChange(session string) *client {
	h.t.Helper()
	c := h.connect()
	if err := c.lease(session, 0); err != nil {
		h.t.Fatal(err)
	}
	return c
}

func serve(t *testing.T, o agent.Options) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- agent.Serve(context.Background(), theirs, o) }()
	var dialled atomic.Bool
	conn, err := grpc.NewClient("passthrough:///agent",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if dialled.Swap(true) {
				return nil, errors.New("the agent has ended")
			}
			return ours, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	c := &client{AgentClient: agentpb.NewAgentClient(conn), t: t}
	var end error
	ended := false
	c.ends = func() error {
		if !ended {
			ended = true
			conn.Close()
			ours.Close()
			select {
			case end = <-served:
			case <-time.After(30 * time.Second):
				end = errors.New("the agent did not end")
			}
		}
		return end
	}
	t.Cleanup(func() {
		if err := c.ends(); err != nil {
			t.Errorf("the agent ended with: %v", err)
		}
	})
	return c
}

func (c *client) lease(session string, wait uint32) error {
	_, err := c.AcquireLease(c.t.Context(), &agentpb.AcquireLeaseRequest{SessionId: session, Holder: "holder of " + session, WaitSeconds: wait})
	return err
}

func claim(kind, id string) *agentpb.Claim {
	return &agentpb.Claim{Kind: kind, Id: id, Urn: testURN, Stack: testStack}
}

// file is a request for a file with this content, owned by whoever runs the test.
func file(path, content string) *agentpb.PutFileRequest {
	return &agentpb.PutFileRequest{Claim: claim("File", path), Content: []byte(content), Mode: 0o640, Owner: me(), Group: myGroup()}
}

func (c *client) mustPutFile(req *agentpb.PutFileRequest) *agentpb.ChangeResponse {
	c.t.Helper()
	resp, err := c.PutFile(c.t.Context(), req)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

func (c *client) mustRemove(cl *agentpb.Claim, generation uint64) *agentpb.RemoveResponse {
	c.t.Helper()
	cl.Generation = generation
	resp, err := c.Remove(c.t.Context(), &agentpb.RemoveRequest{Claim: cl})
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

func (c *client) mustListOwned() []*agentpb.Owned {
	c.t.Helper()
	resp, err := c.ListOwned(c.t.Context(), &agentpb.ListOwnedRequest{})
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.GetOwned()
}

// wantReason fails the test unless the error has the reason, and returns its metadata.
func wantReason(t *testing.T, err error, want agentpb.Reason) map[string]string {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %v", want)
	}
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == agentpb.ErrorDomain {
			if info.GetReason() != want.String() {
				t.Fatalf("reason %s, want %v: %v", info.GetReason(), want, err)
			}
			return info.GetMetadata()
		}
	}
	t.Fatalf("no reason, want %v: %v", want, err)
	return nil
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func mustWrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// onlyEntries fails the test unless the folder holds just these: no temporary file was left.
func onlyEntries(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if len(got) != len(want) {
		t.Fatalf("%s holds %q, want %q", dir, got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s holds %q, want %q", dir, got, want)
		}
	}
}

func wantFault(t *testing.T, err error, want agentpb.Reason) {
	t.Helper()
	if err == nil || fault.ReasonOf(err) != want {
		t.Errorf("got %v, want the reason %v", err, want)
	}
}

// The tests run as root and as anybody else: files belong to whoever runs them. Numbers are
// names too, as for chown(1).
func me() string      { return strconv.Itoa(os.Geteuid()) }
func myGroup() string { return strconv.Itoa(os.Getegid()) }
