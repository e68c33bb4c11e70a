package provider_test

import (
	"context"
	"os/user"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/llmhost/llmhost/internal/agent"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/provider"
)

// realHost is a connection to a real agent on this machine, whose ledger is in a folder of
// the test. It is for what needs no root: files, directories, models and engines.
func realHost(t *testing.T) *host {
	t.Helper()
	server := agent.NewServer(agent.Options{Version: "test"})
	h := connectTo(t, server)
	h.lane = server.ServeLane
	_, err := h.client.Hello(t.Context(), &agentpb.HelloRequest{Protocol: agentpb.Protocol, StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// inProcessHost is the same for a process of its own, whose ledger outlives it.
func inProcessHost(ctx context.Context, stateDir string) (provider.Host, error) {
	l := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	agentpb.RegisterAgentServer(server, agent.NewServer(agent.Options{Version: "test"}))
	go func() { _ = server.Serve(l) }() // ends with the process
	conn, err := dialInMemory(l)
	if err != nil {
		return nil, err
	}
	h := &host{}
	h.use(conn)
	_, err = h.client.Hello(ctx, &agentpb.HelloRequest{Protocol: agentpb.Protocol, StateDir: stateDir})
	return h, err
}

// mine makes a resource's owner and group those of whoever runs the test.
func mine(t *testing.T, in resource.PropertyMap) resource.PropertyMap {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return with(with(in, "owner", str(me.Username)), "group", str(group.Name))
}
