package provider

import (
	"context"
	"fmt"
	"strconv"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Recorded is what every resource keeps in state beside its inputs. All of it is optional,
// so that a state written by an older llmhost stays readable.
type Recorded struct {
	// Generation is a decimal string, since Pulumi's numbers are floating point and would
	// round a large one.
	Generation      *string `pulumi:"generation,optional"`
	ProviderVersion *string `pulumi:"providerVersion,optional"`
}

var _ infer.Annotated = (*Recorded)(nil)

// Annotate describes the outputs in the schema.
func (r *Recorded) Annotate(a infer.Annotator) {
	a.Describe(&r.Generation, "Number of this resource's entry in the host's ledger. A deletion that carries an older one removes nothing.")
	a.Describe(&r.ProviderVersion, "Version of llmhost that wrote this state.")
}

// pending is what a preview shows for a resource that is to be created: a generation that is
// there, and that infer marks as not yet known.
func pending() Recorded {
	g := ""
	return Recorded{Generation: &g}
}

func recorded(generation uint64) Recorded {
	return Recorded{Generation: formatGeneration(generation)}
}

// observedRecord takes the generation from the host's ledger for a state that has none: one
// that was imported, or whose creation a crash has cut off. A state that has one keeps it. The
// engine also refreshes what waits for deletion after a replacement, and with the new
// generation that deletion would remove the replacement.
func observedRecord(ctx context.Context, old Recorded, owned *agentpb.Owned) Recorded {
	if old.Generation == nil {
		old.Generation = ownGeneration(ctx, owned)
	}
	return old
}

func formatGeneration(g uint64) *string {
	if g == 0 {
		return nil
	}
	s := strconv.FormatUint(g, 10)
	return &s
}

func parseGeneration(s *string) (uint64, error) {
	if s == nil || *s == "" {
		return 0, nil
	}
	g, err := strconv.ParseUint(*s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the state's generation %q isn't a number: the state was edited by hand; refresh the stack", *s)
	}
	return g, nil
}
