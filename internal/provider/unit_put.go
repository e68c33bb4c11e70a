package provider

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// stateNotReady is what is saved of a unit that runs and has not answered in time. The next
// run waits again and doesn't restart it: a large model may just be slow to load.
const stateNotReady = "not ready"

// put installs the unit and waits until its server answers. When the unit is installed and
// doesn't work, the error is an infer.ResourceInitFailedError and the state is to be kept:
// the next run then repairs the unit instead of creating it again.
func (*SystemdUnit) put(ctx context.Context, in SystemdUnitArgs, generation *string, restart bool) (SystemdUnitState, error) {
	h, err := connectToChange(ctx)
	if err != nil {
		return SystemdUnitState{}, err
	}
	c, err := claim(ctx, in.Name, generation, in.Adopt)
	if err != nil {
		return SystemdUnitState{}, err
	}
	progressf(ctx, "installing %s", in.Name)
	resp, err := h.Agent().PutUnit(ctx, &agentpb.PutUnitRequest{
		Claim: c, Content: in.Content, Enabled: in.Enabled == nil || *in.Enabled,
		Running: in.State == stateRunning, OnDemand: in.State == stateOnDemand, DropIns: in.DropIns, Restart: restart,
	})
	if err != nil {
		if g := installedGeneration(err); g != nil {
			return halfway(in, Recorded{Generation: g}, "failed", startFailure(err)...)
		}
		return SystemdUnitState{}, err
	}
	rec := recorded(resp.GetGeneration())
	if in.State != stateRunning {
		return SystemdUnitState{in, rec}, nil
	}
	if seen := resp.GetState(); seen.GetActiveState() == "failed" {
		return halfway(in, rec, "failed", failureReasons(in.Name, seen)...)
	}
	if in.Readiness == nil {
		return SystemdUnitState{in, rec}, nil
	}
	return awaitReady(ctx, h, in, rec)
}

// halfway is the state of a unit that is installed and doesn't work, with the reasons.
func halfway(in SystemdUnitArgs, rec Recorded, state string, reasons ...string) (SystemdUnitState, error) {
	s := SystemdUnitState{in, rec}
	s.State = state
	return s, infer.ResourceInitFailedError{Reasons: reasons}
}

// installed tells a unit that is on the host and doesn't work from one that isn't there.
func installed(err error) bool {
	var halfway infer.ResourceInitFailedError
	return errors.As(err, &halfway)
}

func failureReasons(name string, seen *agentpb.UnitState) []string {
	reasons := []string{fmt.Sprintf("%s was installed and has failed (result: %s)", name, seen.GetResult())}
	return append(reasons, seen.GetJournal()...)
}

// awaitReady shows the server's progress and returns when it has answered. An end of the
// waiting for any other reason leaves a unit that is installed.
func awaitReady(ctx context.Context, h Host, in SystemdUnitArgs, rec Recorded) (SystemdUnitState, error) {
	events, err := h.Agent().AwaitReady(ctx, &agentpb.AwaitReadyRequest{
		Unit: in.Name, Readiness: in.Readiness.proto(in.Readiness.TimeoutSeconds),
	})
	for err == nil {
		var event *agentpb.ReadyEvent
		event, err = events.Recv()
		switch {
		case errors.Is(err, io.EOF):
			err = errors.New("the agent stopped watching the unit without a result")
		case err != nil:
		case event.GetReady():
			progressf(ctx, "%s: its server has answered", in.Name)
			return SystemdUnitState{in, rec}, nil
		case event.GetDone():
			return halfway(in, rec, stateNotReady, event.GetReasons()...)
		case event.GetProgress() != "":
			progressf(ctx, "%s: %s", in.Name, event.GetProgress())
		}
	}
	return halfway(in, rec, stateNotReady,
		fmt.Sprintf("%s was installed, and whether its server works isn't known: %v", in.Name, err))
}
