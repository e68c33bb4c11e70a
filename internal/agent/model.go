package agent

import (
	"context"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
	"github.com/llmhost/llmhost/internal/agent/models"
	"github.com/llmhost/llmhost/internal/transfer"
)

// removeModel removes a model, what has arrived of another version of it, and what is remembered
// of it.
func (s *Server) removeModel(ctx context.Context, st *state, e *ledger.Entry) (removal, error) {
	want := durable.Regular
	if e.Folder {
		want = durable.Directory
	}
	done, err := st.removePath(e, want, sweepModel, func(d *durable.Dir, name string) (removal, error) {
		return removal{removed: true}, models.Keep(ctx, st.digests(), []string{e.ID}, func() error { return d.Discard(name) })
	})
	if err == nil {
		st.digests().Forget(e.ID)
	}
	return done, err
}

// sweepModel removes what killed agents have left of a model. What a living one is receiving stays.
func sweepModel(d *durable.Dir, name string) error {
	d.Sweep(name)
	err := transfer.RemovePart(d, name)
	if fault.ReasonOf(err) == agentpb.Reason_NOT_OWNED {
		return nil
	}
	return err
}
