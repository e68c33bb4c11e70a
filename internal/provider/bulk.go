package provider

import (
	"context"
	"fmt"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// maxPushes is how many pushes run at once to one host. Each takes a channel of the one SSH
// connection, beside the control channel, and OpenSSH allows 10 (MaxSessions in
// sshd_config(5)); Pulumi would begin as many pushes as there are models. Four channels
// carried 124 MB/s at a round trip of 50 ms, where one carried 36 MB/s.
const maxPushes = 4

// bulk opens a channel for a push, when fewer than maxPushes are open. The caller releases it.
func bulk(ctx context.Context, h Host) (agentpb.AgentClient, func(), error) {
	slots := operationOf(ctx).instance.pushes
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("cancelled while waiting for another push to end: %w", ctx.Err())
	}
	agent, channel, err := h.Bulk(ctx)
	if err != nil {
		<-slots
		return nil, nil, err
	}
	return agent, func() {
		channel.Close() // the push has its answer or its error by now
		<-slots
	}, nil
}
