package provider

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// installation shows what an installation says and returns its result.
func installation(ctx context.Context, events grpc.ServerStreamingClient[agentpb.InstallEvent], err error) (Recorded, error) {
	for err == nil {
		var event *agentpb.InstallEvent
		event, err = events.Recv()
		switch {
		case errors.Is(err, io.EOF):
			err = errors.New("the agent stopped installing without a result")
		case err == nil && event.GetResult() != nil:
			return recorded(event.GetResult().GetGeneration()), nil
		case err == nil && event.GetProgress() != "":
			progressf(ctx, "%s", event.GetProgress())
		}
	}
	return Recorded{}, err
}
