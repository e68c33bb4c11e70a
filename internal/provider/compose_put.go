package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/remote"
)

// put makes the project and waits until its servers answer. When it is on the host and doesn't
// work, the error is an infer.ResourceInitFailedError and the state is to be kept: the next run
// then repairs the project instead of creating it again.
func (*ComposeProject) put(ctx context.Context, in ComposeProjectArgs, generation *string) (ComposeProjectState, error) {
	h, err := connectToChange(ctx)
	if err != nil {
		return ComposeProjectState{}, err
	}
	c, err := claim(ctx, in.Name, generation, in.Adopt)
	if err != nil {
		return ComposeProjectState{}, err
	}
	req := &agentpb.PutComposeRequest{Claim: c, Content: in.Content, Accounts: in.Accounts, Folders: in.Folders, Readiness: map[string]*agentpb.Readiness{}}
	for service, r := range in.Readiness {
		req.Readiness[service] = r.proto(r.TimeoutSeconds)
	}
	events, err := h.Agent().PutCompose(ctx, req)
	for err == nil {
		var event *agentpb.ComposeEvent
		event, err = events.Recv()
		switch {
		case errors.Is(err, io.EOF):
			err = errors.New("the agent stopped making the project without a result")
		case err != nil:
		case event.GetResult() != nil:
			state := ComposeProjectState{ComposeProjectArgs: in, Recorded: recorded(event.GetResult().GetGeneration())}
			if seen, err := h.Agent().ObserveCompose(ctx, &agentpb.ObserveComposeRequest{Name: in.Name}); err == nil {
				state.Images = imagesOf(seen)
			}
			return state, nil
		case event.GetProgress() != "":
			progressf(ctx, "%s: %s", in.Name, event.GetProgress())
		}
	}
	return projectFailed(in, err)
}

// projectFailed keeps a project that is on the host and doesn't work. One that was taken back is as
// it was, and so is the state.
func projectFailed(in ComposeProjectArgs, err error) (ComposeProjectState, error) {
	var e *remote.Error
	if !errors.As(err, &e) || e.Reason != agentpb.Reason_CONTAINER_FAILED {
		return ComposeProjectState{}, err
	}
	var log []string
	if text := strings.TrimRight(e.Metadata["log"], "\n"); text != "" {
		log = strings.Split(text, "\n")
	}
	generation := e.Metadata["generation"]
	if generation == "" {
		if len(log) == 0 {
			return ComposeProjectState{}, err
		}
		return ComposeProjectState{}, fmt.Errorf("%w\n%s", err, strings.Join(log, "\n"))
	}
	state := ComposeProjectState{ComposeProjectArgs: in, Recorded: Recorded{Generation: &generation}}
	state.Differences = map[string]string{"project": "it was made and doesn't work"}
	return state, infer.ResourceInitFailedError{Reasons: append([]string{fmt.Sprintf("the project was made and doesn't work: %v", err)}, log...)}
}
