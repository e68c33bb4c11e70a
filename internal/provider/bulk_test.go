package provider

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// channelHost has nothing but bulk channels.
type channelHost struct{ Host }

func (channelHost) Bulk(context.Context) (agentpb.AgentClient, io.Closer, error) {
	return nil, io.NopCloser(nil), nil
}

// A host's sshd takes few channels of one connection, so a fifth push waits for one of four.
func TestPushesWaitForAChannel(t *testing.T) {
	ctx := withOperation(t.Context(), &operation{instance: &instance{slots: newSlots()}})
	var release func()
	for range maxPushes {
		var err error
		if _, release, err = bulk(ctx, channelHost{}); err != nil {
			t.Fatal(err)
		}
	}
	impatient, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := bulk(impatient, channelHost{}); !errors.Is(err, context.Canceled) {
		t.Errorf("one push too many: %v", err)
	}
	release()
	if _, _, err := bulk(ctx, channelHost{}); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
}

// One push alone has several lanes; others never take a channel too many.
func TestPushesShareTheLanes(t *testing.T) {
	ctx := withOperation(t.Context(), &operation{instance: &instance{slots: newSlots()}})
	total := 0
	for i := range maxPushes {
		lanes, _, err := takeLanes(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 && lanes != maxPerPush {
			t.Errorf("a push alone has %d lanes, want %d", lanes, maxPerPush)
		}
		total += lanes
	}
	if channels := 1 + total; channels > 10 {
		t.Errorf("%d channels are open at once, and OpenSSH allows 10", channels)
	}
}
