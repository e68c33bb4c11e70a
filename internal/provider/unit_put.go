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

// steadySeconds is how long a service that nobody can ask has to run until a new version of it
// counts as working. What can't start at all ends at once.
const steadySeconds = 5

// unitPut is a unit on its way to the host.
type unitPut struct {
	host  Host
	in    SystemdUnitArgs
	claim *agentpb.Claim
	// old is what the host had before, which comes back when the new doesn't work; nil for none.
	old *SystemdUnitState
}

// put installs the unit and waits until its server answers. When the unit is installed and
// doesn't work, the error is an infer.ResourceInitFailedError and the state is to be kept:
// the next run then repairs the unit instead of creating it again.
func (*SystemdUnit) put(ctx context.Context, in SystemdUnitArgs, old *SystemdUnitState, restart bool) (SystemdUnitState, error) {
	h, err := connectToChange(ctx)
	if err != nil {
		return SystemdUnitState{}, err
	}
	var generation *string
	if old != nil {
		generation = old.toUpdate()
	}
	c, err := claim(ctx, in.Name, generation, in.Adopt)
	if err != nil {
		return SystemdUnitState{}, err
	}
	running, onDemand, err := turn(ctx, h, in)
	if err != nil {
		return SystemdUnitState{}, err
	}
	p := &unitPut{host: h, in: in, claim: c}
	if in.State == stateRunning && running && (in.Rollback == nil || *in.Rollback) {
		p.old = old
	}
	progressf(ctx, "installing %s", in.Name)
	resp, err := h.Agent().PutUnit(ctx, &agentpb.PutUnitRequest{
		Claim: c, Content: in.Content, Enabled: in.Enabled == nil || *in.Enabled,
		Running: running, OnDemand: onDemand, DropIns: in.DropIns, Restart: restart,
		KeepPrevious: p.old != nil,
	})
	if err != nil {
		g := installedGeneration(err)
		if g == nil {
			return SystemdUnitState{}, err
		}
		return p.failed(ctx, Recorded{Generation: g}, "failed", startFailure(err)...)
	}
	rec := recorded(resp.GetGeneration())
	if !running {
		return SystemdUnitState{in, rec}, nil
	}
	if seen := resp.GetState(); seen.GetActiveState() == "failed" {
		return p.failed(ctx, rec, "failed", failureReasons(in.Name, seen)...)
	}
	return p.await(ctx, rec, resp)
}

// turn decides whether a unit is to run now. Of units that take turns the one that runs goes on running, with its new text,
// and the others leave it alone.
func turn(ctx context.Context, h Host, in SystemdUnitArgs) (running, onDemand bool, err error) {
	running, onDemand = in.State == stateRunning, in.State == stateOnDemand
	if len(in.Alternatives) == 0 || in.State == stateStopped {
		return running, onDemand, nil
	}
	if running {
		onDemand, err = alternativeRuns(ctx, h, in.Alternatives)
		return !onDemand, onDemand, err
	}
	seen, err := h.Agent().ObserveUnit(ctx, &agentpb.ObserveUnitRequest{Name: in.Name})
	running = err == nil && runs(seen)
	return running, !running, err
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

// await waits until the unit works, as far as that can be found out, and then forgets what it has
// replaced.
func (p *unitPut) await(ctx context.Context, rec Recorded, put *agentpb.PutUnitResponse) (SystemdUnitState, error) {
	ask := &agentpb.AwaitReadyRequest{Unit: p.in.Name}
	switch {
	case p.in.Readiness != nil:
		ask.Readiness = p.in.Readiness.proto(p.in.Readiness.TimeoutSeconds)
	case p.old != nil && put.GetChanged() && put.GetState().GetMainPid() != 0:
		ask.SteadySeconds = steadySeconds
	}
	if ask.Readiness != nil || ask.SteadySeconds > 0 {
		reasons, err := awaitReady(ctx, p.host, ask)
		if err != nil {
			// It may work, and what it has replaced is kept until a run knows.
			return halfway(p.in, rec, stateNotReady,
				fmt.Sprintf("%s was installed, and whether its server works isn't known: %v", p.in.Name, err))
		}
		if reasons != nil {
			return p.failed(ctx, rec, stateNotReady, reasons...)
		}
	}
	if p.old != nil {
		if err := p.settle(ctx, rec); err != nil {
			return halfway(p.in, rec, stateNotReady,
				fmt.Sprintf("%s works, and what it has replaced could not be forgotten on the host: %v", p.in.Name, err))
		}
	}
	return SystemdUnitState{p.in, rec}, nil
}

// awaitReady shows a unit's progress until it works. It returns why it never will, and an error
// when that isn't known.
func awaitReady(ctx context.Context, h Host, ask *agentpb.AwaitReadyRequest) (reasons []string, err error) {
	events, err := h.Agent().AwaitReady(ctx, ask)
	if err != nil {
		return nil, err
	}
	for {
		event, err := events.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil, errors.New("the agent stopped watching the unit without a result")
		case err != nil:
			return nil, err
		case event.GetReady() && ask.Readiness != nil:
			progressf(ctx, "%s: its server has answered", ask.GetUnit())
			return nil, nil
		case event.GetReady():
			return nil, nil
		case event.GetDone():
			if len(event.GetReasons()) == 0 {
				return []string{ask.GetUnit() + " does not work, and the agent doesn't say why"}, nil
			}
			return event.GetReasons(), nil
		case event.GetProgress() != "":
			progressf(ctx, "%s: %s", ask.GetUnit(), event.GetProgress())
		}
	}
}
