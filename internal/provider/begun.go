package provider

import (
	"context"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// askAfterFailure bounds how long a failed creation looks at the ledger. The user waits for it
// after Ctrl-C.
const askAfterFailure = 10 * time.Second

// beginning is what the host's ledger says of a resource before its creation.
type beginning struct {
	id         string
	known      bool
	generation *string // nil when this resource has no entry
}

// beginningOf looks at the ledger before a creation. What it can't find out it doesn't know,
// and the creation says why.
func beginningOf(ctx context.Context, id string) beginning {
	if operationOf(ctx).dryRun || id == "" {
		return beginning{id: id}
	}
	generation, err := inLedger(ctx, id)
	return beginning{id: id, known: err == nil, generation: generation}
}

// left is the generation of what a failed creation has left on the host, or nil. The agent
// writes its claim before the effect, so a creation that was cancelled or ran out of disk can
// have an entry in the ledger. It then belongs in the state: the next run goes on with it, and
// a destroy in place of a next run leaves nothing behind.
//
// An entry that was there before with the same generation is not this creation's. A forced
// replacement that failed early would otherwise look half done, and the engine would delete
// what it was to replace.
//
// The creation may have failed because it was cancelled, so the question has a time of its own.
// Without an answer there is nothing to save, and the next creation finds its own claim.
func (b beginning) left(ctx context.Context) *string {
	if !b.known {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askAfterFailure)
	defer cancel()
	now, err := inLedger(ctx, b.id)
	if err != nil || now == nil || b.generation != nil && *b.generation == *now {
		return nil
	}
	return now
}

// inLedger is the generation of this resource's own entry in the host's ledger, nil for none.
func inLedger(ctx context.Context, id string) (*string, error) {
	h, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	urn := operationOf(ctx).urn
	ledger, err := h.Agent().ListOwned(ctx, &agentpb.ListOwnedRequest{Stack: stackOf(urn)})
	if err != nil {
		return nil, err
	}
	for _, owned := range ledger.GetOwned() {
		if owned.GetKind() == kindOf(urn) && owned.GetId() == id {
			return ownGeneration(ctx, owned), nil
		}
	}
	return nil, nil
}
