package remote

import (
	"context"
	"io"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Fresh makes a connection of its own to the same host, from the name's resolution to the agent's
// start, as a run of llmhost that begins now would. It proves that the host still lets llmhost in,
// which a connection from before a change doesn't. Closing it ends its agent.
func (c *Conn) Fresh(ctx context.Context) (agentpb.AgentClient, io.Closer, error) {
	fresh, err := Dial(ctx, c.target, c.options)
	if err != nil {
		return nil, nil, err
	}
	return fresh.Agent(), fresh, nil
}
