package provider

import (
	"context"
	"io"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Host is what the resources need of a connection to a host. *remote.Conn is one.
type Host interface {
	// Agent is the client of the agent that runs on the host.
	Agent() agentpb.AgentClient
	// Lease makes this process the one that may change the host. Repeated calls are free.
	Lease(ctx context.Context) error
	// Bulk opens an agent on a channel of its own, for data that would delay control
	// messages. The caller closes it.
	Bulk(ctx context.Context) (agentpb.AgentClient, io.Closer, error)
	// Session names the lease's session in the headers of bulk calls.
	Session() string
}

// Target says which host a provider instance is for and how it is reached.
type Target struct {
	HostID     string
	Local      bool
	Address    string
	Port       int
	User       string
	Identity   string
	KnownHosts string
	HostKey    string
	Jump       string
	StateDir   string
}

// Dialer connects to a host, or hands out a connection that is already there.
type Dialer func(ctx context.Context, t Target) (Host, error)
