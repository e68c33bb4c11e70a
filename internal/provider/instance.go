package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/remote"
)

// instance is one configured provider: the resources of one host.
type instance struct {
	dial   Dialer
	target atomic.Pointer[remote.Target]
	slots  slots
	// guarding holds one token: a host's guarded changes are made one after the other, so that the
	// new connection which confirms one says nothing about another.
	guarding chan struct{}
}

// operation is one call of the engine, as far as a resource needs to know it. infer hands
// a resource neither its URN nor the provider instance, so the middleware puts them in the
// context.
type operation struct {
	instance *instance
	urn      resource.URN
	dryRun   bool
}

type operationKey struct{}

func withOperation(ctx context.Context, op *operation) context.Context {
	return context.WithValue(ctx, operationKey{}, op)
}

func operationOf(ctx context.Context) *operation {
	op, ok := ctx.Value(operationKey{}).(*operation)
	if !ok {
		panic("provider: a resource was called without its middleware")
	}
	return op
}

var errPreview = errors.New("a preview must not touch the host; please report this as a bug in llmhost")

// connect returns the host's connection. The first operation dials; Configure never does, so
// that a preview of a host that is switched off still works.
func connect(ctx context.Context) (Host, error) {
	op := operationOf(ctx)
	if op.dryRun {
		return nil, errPreview
	}
	t := op.instance.target.Load()
	if t == nil {
		return nil, errors.New("the llmhost provider isn't configured: give the resource a provider with hostId and address")
	}
	return op.instance.dial(ctx, *t)
}

// connectToChange is connect for operations that change the host: it takes the lease.
func connectToChange(ctx context.Context) (Host, error) {
	h, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := h.Lease(ctx); err != nil {
		return nil, err
	}
	return h, nil
}

// claim is who makes a change, on what. generation is the one in state, nil for a create.
func claim(ctx context.Context, id string, generation *string, adopt bool) (*agentpb.Claim, error) {
	gen, err := parseGeneration(generation)
	if err != nil {
		return nil, err
	}
	urn := operationOf(ctx).urn
	return &agentpb.Claim{
		Kind: kindOf(urn), Id: id, Urn: string(urn), Stack: stackOf(urn), Generation: gen, Adopt: adopt,
	}, nil
}

// kindOf is the claim's kind: the resource type's name.
func kindOf(urn resource.URN) string { return string(urn.Type().Name()) }

// stackOf names the stack in claims. A URN has no organization.
func stackOf(urn resource.URN) string { return fmt.Sprintf("%s/%s", urn.Project(), urn.Stack()) }

// ownGeneration is the generation of a ledger entry, if this resource owns it.
func ownGeneration(ctx context.Context, owned *agentpb.Owned) *string {
	urn := operationOf(ctx).urn
	if owned == nil || owned.Urn != string(urn) || owned.Stack != stackOf(urn) {
		return nil
	}
	return formatGeneration(owned.Generation)
}

// remove undoes what a resource has put on the host. What the agent keeps, and why, is a
// warning and not an error: the resource has left the state either way.
func remove(ctx context.Context, id string, generation *string) error {
	return removeGuarded(ctx, id, generation, false)
}

// removeGuarded is remove for what the host may put back unless the removal is confirmed.
func removeGuarded(ctx context.Context, id string, generation *string, guarded bool) error {
	release, err := oneAtATime(ctx, guarded)
	if err != nil {
		return err
	}
	defer release()
	h, err := connectToChange(ctx)
	if err != nil {
		return err
	}
	c, err := claim(ctx, id, generation, false)
	if err != nil {
		return err
	}
	resp, err := h.Agent().Remove(ctx, &agentpb.RemoveRequest{Claim: c, Guard: guardOf(guarded)})
	if err != nil {
		return err
	}
	if err := confirm(ctx, h, resp.GetGuarded()); err != nil {
		return err
	}
	if why := resp.GetKeptBecause(); why != "" {
		warn(ctx, fmt.Sprintf("%s %s was left on the host: %s", c.Kind, id, strings.TrimSuffix(why, ".")))
	}
	return nil
}
