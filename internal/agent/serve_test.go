package agent_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/agent"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

func TestHelloSaysWhoIsThere(t *testing.T) {
	c := serve(t, agent.Options{Version: "1.2.3"})
	hello, err := c.Hello(t.Context(), &agentpb.HelloRequest{Protocol: agentpb.Protocol, StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if hello.GetProtocol() != agentpb.Protocol || hello.GetAgentVersion() != "1.2.3" || hello.GetArchitecture() == "" || hello.GetHostname() == "" {
		t.Errorf("hello is %v", hello)
	}
}

func TestAnotherProtocolIsRefused(t *testing.T) {
	c := serve(t, agent.Options{})
	_, err := c.Hello(t.Context(), &agentpb.HelloRequest{Protocol: agentpb.Protocol + 1})
	wantReason(t, err, agentpb.Reason_PROTOCOL)
}

func TestStateFolderIsSetOnce(t *testing.T) {
	h := newHost(t)
	c := h.connect()
	_, err := c.Hello(t.Context(), &agentpb.HelloRequest{Protocol: agentpb.Protocol, StateDir: h.path("elsewhere")})
	wantReason(t, err, agentpb.Reason_INVALID)
	for _, dir := range []string{"relative", "/", "/a/../b"} {
		_, err := serve(t, agent.Options{}).Hello(t.Context(), &agentpb.HelloRequest{Protocol: agentpb.Protocol, StateDir: dir})
		wantReason(t, err, agentpb.Reason_INVALID)
	}
}

// serveRaw starts an agent that gRPC doesn't speak to.
func serveRaw(t *testing.T, ctx context.Context, o agent.Options) (ours net.Conn, served chan error) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	go func() { // what the agent says is of no interest
		buf := make([]byte, 1024)
		for {
			if _, err := ours.Read(buf); err != nil {
				return
			}
		}
	}()
	served = make(chan error, 1)
	go func() { served <- agent.Serve(ctx, theirs, o) }()
	return ours, served
}

func await(t *testing.T, served chan error) error {
	t.Helper()
	select {
	case err := <-served:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the agent did not end")
		return nil
	}
}

func TestSilenceEndsTheAgent(t *testing.T) {
	_, served := serveRaw(t, t.Context(), agent.Options{Idle: 50 * time.Millisecond})
	if err := await(t, served); !errors.Is(err, agent.ErrIdle) {
		t.Errorf("ended with %v, want %v", err, agent.ErrIdle)
	}
}

func TestEndOfInputEndsTheAgent(t *testing.T) {
	ours, served := serveRaw(t, t.Context(), agent.Options{})
	ours.Close()
	if err := await(t, served); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestCancellationEndsTheAgent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, served := serveRaw(t, ctx, agent.Options{})
	cancel()
	if err := await(t, served); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}
