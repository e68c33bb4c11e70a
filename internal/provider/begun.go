package provider

import (
	"context"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// askAfterFailure bounds how long a failed creation looks at the ledger. The user waits for it
// after Ctrl-C.
const askAfterFailure = 10 * time.Second

// begun is the generation of what a failed creation has left on the host, or nil. The agent
// writes its claim before the effect, so a creation that was cancelled or ran out of disk can
// have an entry in the ledger. It then belongs in the state: the next run goes on with it, and
// a destroy in place of a next run leaves nothing behind.
//
// The creation may have failed because it was cancelled, so the question has a time of its own.
// Without an answer there is nothing to save, and the next creation finds its own claim.
func begun(ctx context.Context, id string) *string {
	op := operationOf(ctx)
	if op.dryRun || id == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askAfterFailure)
	defer cancel()
	h, err := connect(ctx)
	if err != nil {
		return nil
	}
	ledger, err := h.Agent().ListOwned(ctx, &agentpb.ListOwnedRequest{Stack: stackOf(op.urn)})
	if err != nil {
		return nil
	}
	for _, owned := range ledger.GetOwned() {
		if owned.GetKind() == kindOf(op.urn) && owned.GetId() == id {
			return ownGeneration(ctx, owned)
		}
	}
	return nil
}
