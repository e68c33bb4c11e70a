package provider

import (
	"context"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// EngineRoot is an empty root directory for servers whose engine is the host's own.
type EngineRoot struct{}

var (
	_ infer.CustomResource[EngineRootArgs, EngineRootState] = (*EngineRoot)(nil)
	_ infer.CustomCheck[EngineRootArgs]                     = (*EngineRoot)(nil)
	_ infer.CustomRead[EngineRootArgs, EngineRootState]     = (*EngineRoot)(nil)
	_ infer.CustomUpdate[EngineRootArgs, EngineRootState]   = (*EngineRoot)(nil)
	_ infer.CustomDelete[EngineRootState]                   = (*EngineRoot)(nil)
	_ infer.Annotated                                       = (*EngineRoot)(nil)
	_ infer.Annotated                                       = (*EngineRootArgs)(nil)
)

// EngineRootArgs are a root directory's inputs.
type EngineRootArgs struct {
	Path          string   `pulumi:"path,optional" provider:"replaceOnChanges"`
	ModifiedFiles []string `pulumi:"modifiedFiles,optional"`
	Adopt         bool     `pulumi:"adopt,optional"`
}

// EngineRootState is what is known of a root directory on the host.
type EngineRootState struct {
	EngineRootArgs
	Recorded
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (r *EngineRoot) Annotate(a infer.Annotator) {
	a.SetToken("index", "EngineRoot")
	a.Describe(r, "A root directory that holds nothing but places to mount on and the host's links into /usr. A server whose engine is a package or a Python environment gets it as its root, with the host's programs and libraries mounted read-only.")
}

// Annotate describes the inputs in the schema.
func (a *EngineRootArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Path, "Absolute path on the host.")
	an.SetDefault(&a.Path, "/opt/llmhost/root")
	an.Describe(&a.ModifiedFiles, "Always empty: what isn't as it was made. It is an input so that it shows as drift.")
	describeAdopt(an, &a.Adopt)
}

// Check validates the inputs.
func (*EngineRoot) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[EngineRootArgs], error) {
	return check(ctx, req, func(c *checks, in *EngineRootArgs) {
		c.absolutePath("path", in.Path)
		if c.known("modifiedFiles") && len(in.ModifiedFiles) > 0 {
			c.fail("modifiedFiles", "must be empty: it only shows what has changed on the host")
		}
	})
}

// Create makes the root directory.
func (r *EngineRoot) Create(ctx context.Context, req infer.CreateRequest[EngineRootArgs]) (infer.CreateResponse[EngineRootState], error) {
	if req.DryRun {
		return infer.CreateResponse[EngineRootState]{Output: EngineRootState{req.Inputs, pending()}}, nil
	}
	rec, err := r.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[EngineRootState]{}, err
	}
	return infer.CreateResponse[EngineRootState]{ID: req.Inputs.Path, Output: EngineRootState{req.Inputs, rec}}, nil
}

// Update puts back what was changed.
func (r *EngineRoot) Update(ctx context.Context, req infer.UpdateRequest[EngineRootArgs, EngineRootState]) (infer.UpdateResponse[EngineRootState], error) {
	if req.DryRun {
		return infer.UpdateResponse[EngineRootState]{Output: EngineRootState{req.Inputs, req.State.Recorded}}, nil
	}
	rec, err := r.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[EngineRootState]{}, err
	}
	return infer.UpdateResponse[EngineRootState]{Output: EngineRootState{req.Inputs, rec}}, nil
}

func (*EngineRoot) put(ctx context.Context, in EngineRootArgs, generation *string) (Recorded, error) {
	h, err := connectToChange(ctx)
	if err != nil {
		return Recorded{}, err
	}
	c, err := claim(ctx, in.Path, generation, in.Adopt)
	if err != nil {
		return Recorded{}, err
	}
	resp, err := h.Agent().PutEngineRoot(ctx, &agentpb.PutEngineRootRequest{Claim: c})
	if err != nil {
		return Recorded{}, err
	}
	return recorded(resp.GetGeneration()), nil
}

// Read observes the root directory.
func (*EngineRoot) Read(ctx context.Context, req infer.ReadRequest[EngineRootArgs, EngineRootState]) (infer.ReadResponse[EngineRootArgs, EngineRootState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[EngineRootArgs, EngineRootState]{}, err
	}
	seen, err := h.Agent().ObserveEngineRoot(ctx, &agentpb.ObserveEngineRootRequest{Path: req.ID})
	if err != nil {
		return infer.ReadResponse[EngineRootArgs, EngineRootState]{}, err
	}
	if !seen.GetExists() {
		return infer.ReadResponse[EngineRootArgs, EngineRootState]{}, nil
	}
	in := req.Inputs
	in.Path, in.ModifiedFiles = req.ID, sorted(seen.GetModifiedFiles())
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[EngineRootArgs, EngineRootState]{ID: req.ID, Inputs: in, State: EngineRootState{in, rec}}, nil
}

// Delete removes the root directory, if this resource still owns it.
func (*EngineRoot) Delete(ctx context.Context, req infer.DeleteRequest[EngineRootState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
