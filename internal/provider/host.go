package provider

import (
	"context"
	"io"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/transfer"
)

var _ Host = (*remote.Conn)(nil)

// Host is what the resources need of a connection to a host.
type Host interface {
	// Agent is the client of the agent that runs on the host.
	Agent() agentpb.AgentClient
	// Lease makes this process the one that may change the host. Repeated calls are free.
	Lease(ctx context.Context) error
	// Bulk opens an agent on a channel of its own, for data that would delay control
	// messages. The caller closes it.
	Bulk(ctx context.Context) (agentpb.AgentClient, io.Closer, error)
	// Fresh makes a new connection to the host, from the beginning. The caller closes it.
	Fresh(ctx context.Context) (agentpb.AgentClient, io.Closer, error)
	// Lanes carry models.
	transfer.Lanes
	// Session names the lease's session in the headers of bulk calls.
	Session() string
}

// Dialer connects to a host, or hands out a connection that is already there.
type Dialer func(ctx context.Context, t remote.Target) (Host, error)

// dialShared takes connections from the process's one pool: with a changed address, an old and
// a new provider instance live at once, and each resource would open its own otherwise.
func dialShared(ctx context.Context, t remote.Target) (Host, error) {
	conn, err := remote.Shared().Conn(ctx, t)
	if err != nil {
		return nil, err
	}
	return conn, nil
}
