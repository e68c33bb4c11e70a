package provider

import (
	"context"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// stateUnresponsive is what Read finds when the unit is active and its server doesn't answer.
const stateUnresponsive = "unresponsive"

// readAnswerSeconds bounds how long Read waits for a server's answer. A server that is busy
// with one long reply needs some seconds; a drift run shouldn't wait a start-up's time.
const readAnswerSeconds = 30

// Read observes the unit, and asks its server if the unit has one.
func (*SystemdUnit) Read(ctx context.Context, req infer.ReadRequest[SystemdUnitArgs, SystemdUnitState]) (infer.ReadResponse[SystemdUnitArgs, SystemdUnitState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[SystemdUnitArgs, SystemdUnitState]{}, err
	}
	ask := &agentpb.ObserveUnitRequest{Name: req.ID}
	if r := req.Inputs.Readiness; r != nil && req.Inputs.State != stateStopped {
		ask.Readiness = r.proto(min(r.TimeoutSeconds, readAnswerSeconds))
	}
	seen, err := h.Agent().ObserveUnit(ctx, ask)
	if err != nil {
		return infer.ReadResponse[SystemdUnitArgs, SystemdUnitState]{}, err
	}
	if !seen.GetExists() && !seen.GetMasked() {
		return infer.ReadResponse[SystemdUnitArgs, SystemdUnitState]{}, nil
	}
	enabled := seen.GetEnabled()
	in := req.Inputs
	in.Name = req.ID
	in.Content = observedUnitText(in.Content, seen.GetContent())
	in.Enabled = &enabled
	in.Masked = seen.GetMasked()
	in.State = observedState(in.State, seen)
	in.DropIns = observedDropIns(in.DropIns, seen.GetDropIns())
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[SystemdUnitArgs, SystemdUnitState]{ID: req.ID, Inputs: in, State: SystemdUnitState{in, rec}}, nil
}

// observedState puts systemd's states (systemd(1), CONCEPTS) into the words of the input.
func observedState(declared string, seen *agentpb.UnitState) string {
	if declared == stateOnDemand && seen.GetActiveState() != "failed" {
		return stateOnDemand
	}
	switch seen.GetActiveState() {
	case "active", "reloading", "refreshing":
		if seen.GetAsked() && !seen.GetAnswered() {
			return stateUnresponsive
		}
		return stateRunning
	case "inactive", "":
		return stateStopped
	case "activating":
		if seen.GetSubState() == "auto-restart" {
			return "restarting"
		}
		return "starting"
	case "deactivating":
		return "stopping"
	default:
		return seen.GetActiveState()
	}
}

func (r *Readiness) proto(timeoutSeconds int) *agentpb.Readiness {
	p := &agentpb.Readiness{Address: r.Address, Model: r.Model, TimeoutSeconds: uint32(max(timeoutSeconds, 1))}
	if r.Credential != nil {
		p.Credential = *r.Credential
	}
	return p
}
