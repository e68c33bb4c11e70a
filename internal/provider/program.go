package provider

import (
	"context"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Program is the agent's own program at a place where units of the host can run it.
type Program struct{}

var (
	_ infer.CustomResource[ProgramArgs, ProgramState] = (*Program)(nil)
	_ infer.CustomCheck[ProgramArgs]                  = (*Program)(nil)
	_ infer.CustomRead[ProgramArgs, ProgramState]     = (*Program)(nil)
	_ infer.CustomUpdate[ProgramArgs, ProgramState]   = (*Program)(nil)
	_ infer.CustomDelete[ProgramState]                = (*Program)(nil)
	_ infer.Annotated                                 = (*Program)(nil)
	_ infer.Annotated                                 = (*ProgramArgs)(nil)
)

// ProgramArgs are the program's inputs.
type ProgramArgs struct {
	Path    string `pulumi:"path,optional" provider:"replaceOnChanges"`
	Release string `pulumi:"release,optional"`
	Current *bool  `pulumi:"current,optional"`
	Adopt   bool   `pulumi:"adopt,optional"`
}

// ProgramState is what is known of the program on the host.
type ProgramState struct {
	ProgramArgs
	Recorded
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (p *Program) Annotate(a infer.Annotator) {
	a.SetToken("index", "Program")
	a.Describe(p, "The agent's program, root's and executable by all, for units that check and verify models when llmhost isn't connected. An upgrade of llmhost replaces it.")
}

// Annotate describes the inputs in the schema.
func (a *ProgramArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Path, "Absolute path on the host.")
	an.SetDefault(&a.Path, "/usr/local/lib/llmhost/llmhost-agent")
	an.Describe(&a.Release, "Version of llmhost that the program is of. It is filled in, so that an upgrade shows as a change.")
	an.Describe(&a.Current, "Always true: the program is that of this llmhost, with its owner and mode. It is an input so that another one shows as drift.")
	an.SetDefault(&a.Current, true)
	describeAdopt(an, &a.Adopt)
}

// Check validates the inputs.
func (*Program) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[ProgramArgs], error) {
	return check(ctx, req, func(c *checks, in *ProgramArgs) {
		c.absolutePath("path", in.Path)
		if c.known("release") && in.Release == "" {
			in.Release = Version
		}
		if c.known("current") && !*in.Current {
			c.fail("current", "must be true: it only shows that the host has another program")
		}
	})
}

// Create installs the program.
func (p *Program) Create(ctx context.Context, req infer.CreateRequest[ProgramArgs]) (infer.CreateResponse[ProgramState], error) {
	if req.DryRun {
		return infer.CreateResponse[ProgramState]{Output: ProgramState{req.Inputs, pending()}}, nil
	}
	rec, err := p.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[ProgramState]{}, err
	}
	return infer.CreateResponse[ProgramState]{ID: req.Inputs.Path, Output: ProgramState{req.Inputs, rec}}, nil
}

// Update replaces a program that isn't this llmhost's.
func (p *Program) Update(ctx context.Context, req infer.UpdateRequest[ProgramArgs, ProgramState]) (infer.UpdateResponse[ProgramState], error) {
	if req.DryRun {
		return infer.UpdateResponse[ProgramState]{Output: ProgramState{req.Inputs, req.State.Recorded}}, nil
	}
	rec, err := p.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[ProgramState]{}, err
	}
	return infer.UpdateResponse[ProgramState]{Output: ProgramState{req.Inputs, rec}}, nil
}

func (*Program) put(ctx context.Context, in ProgramArgs, generation *string) (Recorded, error) {
	h, err := connectToChange(ctx)
	if err != nil {
		return Recorded{}, err
	}
	c, err := claim(ctx, in.Path, generation, in.Adopt)
	if err != nil {
		return Recorded{}, err
	}
	resp, err := h.Agent().PutProgram(ctx, &agentpb.PutProgramRequest{Claim: c})
	if err != nil {
		return Recorded{}, err
	}
	return recorded(resp.GetGeneration()), nil
}

// Read asks the agent whether the program at the path is its own.
func (*Program) Read(ctx context.Context, req infer.ReadRequest[ProgramArgs, ProgramState]) (infer.ReadResponse[ProgramArgs, ProgramState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[ProgramArgs, ProgramState]{}, err
	}
	seen, err := h.Agent().ObserveProgram(ctx, &agentpb.ObserveProgramRequest{Path: req.ID})
	if err != nil {
		return infer.ReadResponse[ProgramArgs, ProgramState]{}, err
	}
	if !seen.GetExists() {
		return infer.ReadResponse[ProgramArgs, ProgramState]{}, nil
	}
	in := req.Inputs
	in.Path = req.ID
	current := seen.GetCurrent()
	in.Current = &current
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[ProgramArgs, ProgramState]{ID: req.ID, Inputs: in, State: ProgramState{in, rec}}, nil
}

// Delete removes the program, if this resource still owns it.
func (*Program) Delete(ctx context.Context, req infer.DeleteRequest[ProgramState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
