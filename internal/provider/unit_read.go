package provider

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/unitfile"
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
	if in.State, err = observedTurn(ctx, h, in, observedState(in.State, seen)); err != nil {
		return infer.ReadResponse[SystemdUnitArgs, SystemdUnitState]{}, err
	}
	dropIns, properties := runtimeProperties(seen.GetDropIns())
	in.DropIns = observedDropIns(in.DropIns, dropIns)
	in.RuntimeProperties = properties
	in.ShadowedBy = seen.GetShadowedBy()
	in.Outdated = observedOutdated(in.State, seen)
	if in.Exposure != nil { // state of an older llmhost has none
		in.Exposure = exposureOf(in.Name, seen.GetContent(), seen.GetDropIns())
	}
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[SystemdUnitArgs, SystemdUnitState]{ID: req.ID, Inputs: in, State: SystemdUnitState{in, rec}}, nil
}

// observedTurn is the state of a unit that takes turns with others: while one of them runs, the unit is as declared.
func observedTurn(ctx context.Context, h Host, in SystemdUnitArgs, seen string) (string, error) {
	if in.State != stateRunning || seen != stateStopped {
		return seen, nil
	}
	running, err := alternativeRuns(ctx, h, in.Alternatives)
	if err != nil || !running {
		return seen, err
	}
	return stateRunning, nil
}

func alternativeRuns(ctx context.Context, h Host, units []string) (bool, error) {
	for _, unit := range units {
		other, err := h.Agent().ObserveUnit(ctx, &agentpb.ObserveUnitRequest{Name: unit})
		if err != nil {
			return false, err
		}
		if runs(other) {
			return true, nil
		}
	}
	return false, nil
}

func runs(u *agentpb.UnitState) bool {
	switch u.GetActiveState() {
	case "active", "activating", "reloading", "refreshing":
		return true
	}
	return false
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

// observedOutdated says in which way what runs isn't what the files say.
func observedOutdated(state string, seen *agentpb.UnitState) string {
	switch {
	case seen.GetNeedDaemonReload():
		return "systemd has not read the files since they were changed"
	case seen.GetProcessOutdated() && (state == stateRunning || state == stateUnresponsive):
		return "the process was started before the files were changed"
	default:
		return ""
	}
}

// controlFolders are where systemctl set-property writes, for good and until the next boot.
var controlFolders = map[string]string{
	"/etc/systemd/system.control/": "",
	"/run/systemd/system.control/": " (until the next boot)",
}

// runtimeProperties takes the drop-ins that systemctl set-property has made out of all others, and
// returns what they set. The one that is for good wins.
func runtimeProperties(dropIns map[string]string) (others, properties map[string]string) {
	others = maps.Clone(dropIns)
	for _, folder := range slices.Backward(slices.Sorted(maps.Keys(controlFolders))) {
		for file, text := range dropIns {
			assignments, err := unitfile.Parse(text)
			if !strings.HasPrefix(file, folder) || err != nil {
				continue
			}
			delete(others, file)
			values := map[string][]string{}
			for _, a := range assignments {
				if a.Value != "" || values[a.Directive] == nil {
					values[a.Directive] = append(values[a.Directive], a.Value)
				}
			}
			for directive, v := range values {
				if properties == nil {
					properties = map[string]string{}
				}
				properties[directive] = strings.TrimSpace(strings.Join(v, " ")) + controlFolders[folder]
			}
		}
	}
	return others, properties
}

func (r *Readiness) proto(timeoutSeconds int) *agentpb.Readiness {
	p := &agentpb.Readiness{Address: r.Address, Model: r.Model, TimeoutSeconds: uint32(max(timeoutSeconds, 1))}
	if r.Credential != nil {
		p.Credential = *r.Credential
	}
	return p
}
