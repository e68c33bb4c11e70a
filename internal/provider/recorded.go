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
	SeenGeneration  *string `pulumi:"seenGeneration,optional"`
	ProviderVersion *string `pulumi:"providerVersion,optional"`
}

var _ infer.Annotated = (*Recorded)(nil)

// Annotate describes the outputs in the schema.
func (r *Recorded) Annotate(a infer.Annotator) {
	a.Describe(&r.Generation, "Number of this resource's entry in the host's ledger. A deletion that carries an older one removes nothing.")
	a.Describe(&r.SeenGeneration, "Number that a refresh has found in the host's ledger, when it is another than `generation`. An update goes on from it; a deletion doesn't.")
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

// observedRecord notes what the host's ledger says of this resource's own entry. A state
// without a generation takes it: it was imported, or a crash has cut off its creation.
//
// A state with an older generation keeps it beside the new one. Either it is an old copy, and
// the next update goes on from the new one. Or it waits for deletion after a replacement, which
// the engine refreshes like any other: with the new generation, that deletion would remove the
// replacement.
func observedRecord(ctx context.Context, old Recorded, owned *agentpb.Owned) Recorded {
	seen := ownGeneration(ctx, owned)
	switch {
	case seen == nil:
	case old.Generation == nil || *old.Generation == *seen:
		old.Generation, old.SeenGeneration = seen, nil
	default:
		old.SeenGeneration = seen
	}
	return old
}

// toUpdate is the generation that an update claims.
func (r Recorded) toUpdate() *string {
	if r.SeenGeneration != nil {
		return r.SeenGeneration
	}
	return r.Generation
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
