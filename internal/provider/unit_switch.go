package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// settle makes the new version of a unit the one that a later switch goes back to.
func (p *unitPut) settle(ctx context.Context, rec Recorded) error {
	_, err := p.settleUnit(ctx, rec, false)
	return err
}

func (p *unitPut) settleUnit(ctx context.Context, rec Recorded, rollBack bool) (*agentpb.SettleUnitResponse, error) {
	c, err := claim(ctx, p.in.Name, rec.Generation, false)
	if err != nil {
		return nil, err
	}
	return p.host.Agent().SettleUnit(ctx, &agentpb.SettleUnitRequest{Claim: c, RollBack: rollBack})
}

// failed is what becomes of a unit that doesn't work: what it has replaced comes back, if there is
// anything to go back to; else it stays as it is, with the reasons.
func (p *unitPut) failed(ctx context.Context, rec Recorded, state string, reasons ...string) (SystemdUnitState, error) {
	if p.old == nil {
		return halfway(p.in, rec, state, reasons...)
	}
	progressf(ctx, "%s doesn't work: going back to what ran before", p.in.Name)
	back, err := p.settleUnit(ctx, rec, true)
	switch {
	case err != nil:
		return halfway(p.in, rec, state, append([]string{
			fmt.Sprintf("%s doesn't work, and going back to what ran before has failed, which the next run tries again: %v", p.in.Name, err)}, reasons...)...)
	case !back.GetRolledBack():
		return halfway(p.in, rec, state, append(reasons,
			"nothing was put back: the unit's text is as it was, or no version of it was running before")...)
	}
	s := SystemdUnitState{p.old.SystemdUnitArgs, rec} // what the host has
	outcome, found := p.askOld(ctx, back)
	s.State = found
	return s, infer.ResourceInitFailedError{Reasons: append([]string{
		fmt.Sprintf("the new %s doesn't work, and the one that ran before was put back: %s", p.in.Name, outcome)}, reasons...)}
}

// askOld finds out whether the version that was put back works.
func (p *unitPut) askOld(ctx context.Context, back *agentpb.SettleUnitResponse) (outcome, state string) {
	if why := back.GetStartFailure(); why != "" {
		return "it could not be started either: " + why, "failed"
	}
	ready := p.old.Readiness
	if ready == nil {
		return "it runs again", stateRunning
	}
	reasons, err := awaitReady(ctx, p.host, &agentpb.AwaitReadyRequest{Unit: p.in.Name, Readiness: ready.proto(ready.TimeoutSeconds)})
	switch {
	case err != nil:
		return fmt.Sprintf("whether it answers isn't known: %v", err), stateNotReady
	case reasons != nil:
		return "it doesn't answer either: " + strings.Join(reasons, "; "), stateNotReady
	default:
		return "it answers again", stateRunning
	}
}
