package provider

import (
	"context"
	"fmt"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Pushes to one host take channels of its one SSH connection, beside the control channel, and
// OpenSSH allows 10 (MaxSessions in sshd_config(5)); Pulumi would begin as many pushes as there
// are models. Each push has a lane of its own, and those that are left over carry more of one
// model at a time: four carried 124 MB/s at a round trip of 50 ms, where one carried 36 MB/s. They
// are channels, too, where the host can't be reached by further connections.
const (
	maxPushes  = 4
	maxExtra   = 4
	maxPerPush = 4
)

// slots are the channels that one host has for pushes.
type slots struct {
	pushes, extra chan struct{}
}

func newSlots() slots {
	return slots{pushes: make(chan struct{}, maxPushes), extra: make(chan struct{}, maxExtra)}
}

// takeSlot waits until fewer than maxPushes are under way.
func takeSlot(ctx context.Context) (release func(), err error) {
	pushes := operationOf(ctx).instance.slots.pushes
	select {
	case pushes <- struct{}{}:
		return func() { <-pushes }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("cancelled while waiting for another push to end: %w", ctx.Err())
	}
}

// bulk opens a channel for a push, when fewer than maxPushes are open. The caller releases it.
func bulk(ctx context.Context, h Host) (agentpb.AgentClient, func(), error) {
	release, err := takeSlot(ctx)
	if err != nil {
		return nil, nil, err
	}
	agent, channel, err := h.Bulk(ctx)
	if err != nil {
		release()
		return nil, nil, err
	}
	return agent, func() {
		channel.Close() // the push has its answer or its error by now
		release()
	}, nil
}

// takeLanes waits as takeSlot does, and takes as many further lanes as other pushes have left.
func takeLanes(ctx context.Context) (lanes int, release func(), err error) {
	releaseSlot, err := takeSlot(ctx)
	if err != nil {
		return 0, nil, err
	}
	extra := operationOf(ctx).instance.slots.extra
	taken := 0
	for range maxPerPush - 1 {
		select {
		case extra <- struct{}{}:
			taken++
		default:
		}
	}
	return 1 + taken, func() {
		for range taken {
			<-extra
		}
		releaseSlot()
	}, nil
}
