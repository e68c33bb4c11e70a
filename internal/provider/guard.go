package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// guardedPlaces are where a wrong file locks llmhost and its user out of the host.
var guardedPlaces = []string{
	"/etc/ssh", "/etc/network", "/etc/netplan", "/etc/systemd/network", "/etc/NetworkManager",
	"/etc/nftables.conf", "/etc/hosts.allow", "/etc/hosts.deny", "/etc/sudoers", "/etc/sudoers.d",
}

func describeGuard(an infer.Annotator, guard **bool, otherwise string) {
	an.Describe(guard, "Whether the host undoes the change by itself unless llmhost confirms it over a new connection. "+otherwise)
}

// isGuarded tells whether a change of a file is guarded, if nobody has said.
func isGuarded(path string, guard *bool) bool {
	if guard != nil {
		return *guard
	}
	for _, place := range guardedPlaces {
		if path == place || strings.HasPrefix(path, place+"/") {
			return true
		}
	}
	return false
}

// guardOf is what the agent is asked for.
func guardOf(guarded bool) *agentpb.Guard {
	if !guarded {
		return nil
	}
	return &agentpb.Guard{}
}

// oneAtATime waits until no other guarded change of the host is on its way. For one that isn't
// guarded, there is nothing to wait for.
func oneAtATime(ctx context.Context, guarded bool) (release func(), err error) {
	if !guarded {
		return func() {}, nil
	}
	guarding := operationOf(ctx).instance.guarding
	select {
	case guarding <- struct{}{}:
		return func() { <-guarding }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

const (
	// decideBefore is how long before the host undoes a change llmhost stops trying to confirm it,
	// and says itself that it is to be undone.
	decideBefore = 5 * time.Second
	// outcomeWait is how long after that the host is asked what became of it.
	outcomeWait = 90 * time.Second
	outcomeTry  = 5 * time.Second
)

// confirm keeps a change that waits, if the host can still be reached by a new connection. The
// error says what became of the change otherwise. A change that doesn't wait is nil.
func confirm(ctx context.Context, h Host, g *agentpb.Guarded) error {
	if g == nil {
		return nil
	}
	progressf(ctx, "confirming the change over a new connection")
	within, cancel := context.WithTimeout(ctx, time.Duration(g.GetSeconds())*time.Second-decideBefore)
	became, err := confirmFresh(within, h, g.GetId())
	cancel()
	if err != nil {
		err = fmt.Errorf("no new connection to the host could be made with it (%w)", err)
		if ctx.Err() != nil {
			err = errors.New("the run was cancelled before it was confirmed")
		}
		became = undo(context.WithoutCancel(ctx), h, g.GetId(), err.Error())
	}
	switch became.GetOutcome() {
	case "confirmed":
		return nil
	case "undone":
		return fmt.Errorf("the change was undone and the host is as it was before: %s", because(became, err))
	case "stuck":
		return fmt.Errorf("the change was not confirmed, and the host could not undo it: %s", became.GetWhy())
	default:
		return fmt.Errorf("the change was not confirmed, and the host undoes it by itself within a minute or at its next start; it could not be asked whether it has: %w", err)
	}
}

func because(became *agentpb.GuardState, err error) string {
	if why := became.GetWhy(); why != "" {
		return why
	}
	return fmt.Sprint(err)
}

func confirmFresh(ctx context.Context, h Host, id string) (*agentpb.GuardState, error) {
	agent, closer, err := h.Fresh(ctx)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	return agent.Confirm(ctx, &agentpb.ConfirmRequest{Id: id})
}

// undo has the host undo a change at once, over the connection that has made it. Where that is
// gone too, the host does it when the time is up, and is asked until it can be reached again.
// Undo is also the question: it does nothing to a change that was decided.
func undo(ctx context.Context, h Host, id, why string) *agentpb.GuardState {
	request := &agentpb.UndoRequest{Id: id, Why: why}
	ctx, cancel := context.WithTimeout(ctx, outcomeWait)
	defer cancel()
	if became, err := h.Agent().Undo(ctx, request); err == nil {
		return became
	}
	for ctx.Err() == nil {
		progressf(ctx, "waiting until the host has undone the change")
		if agent, closer, err := h.Fresh(ctx); err == nil {
			became, err := agent.Undo(ctx, request)
			closer.Close()
			if err == nil {
				return became
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(outcomeTry):
		}
	}
	return nil
}
