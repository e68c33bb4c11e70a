package provider

import (
	"context"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Model is a model file on the host, pushed from the machine that runs Pulumi.
type Model struct{}

var (
	_ infer.CustomResource[ModelArgs, ModelState] = (*Model)(nil)
	_ infer.CustomCheck[ModelArgs]                = (*Model)(nil)
	_ infer.CustomRead[ModelArgs, ModelState]     = (*Model)(nil)
	_ infer.CustomUpdate[ModelArgs, ModelState]   = (*Model)(nil)
	_ infer.CustomDelete[ModelState]              = (*Model)(nil)
	_ infer.Annotated                             = (*Model)(nil)
	_ infer.Annotated                             = (*ModelArgs)(nil)
)

// ModelArgs are a model's inputs.
type ModelArgs struct {
	Path   string `pulumi:"path" provider:"replaceOnChanges"`
	Source string `pulumi:"source,optional"`
	SHA256 string `pulumi:"sha256"`
	Mode   string `pulumi:"mode,optional"`
	Owner  string `pulumi:"owner,optional"`
	Group  string `pulumi:"group,optional"`
	Adopt  bool   `pulumi:"adopt,optional"`
}

// ModelState is what is known of a model on the host.
type ModelState struct {
	ModelArgs
	Recorded
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (m *Model) Annotate(a infer.Annotator) {
	a.SetToken("index", "Model")
	a.Describe(m, "A model file. It has its name on the host only when all of it has arrived and has the pinned digest.")
}

// Annotate describes the inputs in the schema.
func (a *ModelArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Path, "Absolute path on the host.")
	an.Describe(&a.Source, "Absolute path of the file on the machine that runs Pulumi. It is read only when bytes must be sent, and a change of it alone is no change: `sha256` says which file it is.")
	an.SetDefault(&a.Source, "")
	an.Describe(&a.SHA256, "SHA-256 of the file, in lower-case hexadecimal.")
	an.Describe(&a.Mode, "Permission bits as four octal digits.")
	an.SetDefault(&a.Mode, "0640")
	an.Describe(&a.Owner, "Name of the owning user.")
	an.SetDefault(&a.Owner, "root")
	an.Describe(&a.Group, "Name of the owning group.")
	an.SetDefault(&a.Group, "root")
	describeAdopt(an, &a.Adopt)
}

// Check validates the inputs.
func (*Model) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[ModelArgs], error) {
	return check(ctx, req, func(c *checks, in *ModelArgs) {
		c.absolutePath("path", in.Path)
		c.localSource("source", in.Source)
		c.sha256("sha256", in.SHA256)
		c.mode("mode", in.Mode)
		c.account("owner", in.Owner)
		c.account("group", in.Group)
	})
}

// Create pushes the model, unless the host has these very bytes already.
func (m *Model) Create(ctx context.Context, req infer.CreateRequest[ModelArgs]) (infer.CreateResponse[ModelState], error) {
	if req.DryRun {
		return infer.CreateResponse[ModelState]{Output: ModelState{req.Inputs, pending()}}, nil
	}
	rec, err := m.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[ModelState]{}, err
	}
	return infer.CreateResponse[ModelState]{ID: req.Inputs.Path, Output: ModelState{req.Inputs, rec}}, nil
}

// Update pushes the model if its bytes aren't the pinned ones, and else sets its mode and
// owners.
func (m *Model) Update(ctx context.Context, req infer.UpdateRequest[ModelArgs, ModelState]) (infer.UpdateResponse[ModelState], error) {
	if req.DryRun {
		return infer.UpdateResponse[ModelState]{Output: ModelState{req.Inputs, req.State.Recorded}}, nil
	}
	rec, err := m.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[ModelState]{}, err
	}
	return infer.UpdateResponse[ModelState]{Output: ModelState{req.Inputs, rec}}, nil
}

// Read observes the model. The agent hashes it again only when the file seems to have changed
// since the last hash.
func (*Model) Read(ctx context.Context, req infer.ReadRequest[ModelArgs, ModelState]) (infer.ReadResponse[ModelArgs, ModelState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[ModelArgs, ModelState]{}, err
	}
	seen, err := h.Agent().ObserveModel(ctx, &agentpb.ObserveModelRequest{Path: req.ID})
	if err != nil {
		return infer.ReadResponse[ModelArgs, ModelState]{}, err
	}
	if !seen.GetExists() {
		return infer.ReadResponse[ModelArgs, ModelState]{}, nil
	}
	in := req.Inputs
	in.Path = req.ID
	in.SHA256 = seen.GetSha256()
	in.Mode, in.Owner, in.Group = formatMode(seen.GetMode()), seen.GetOwner(), seen.GetGroup()
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[ModelArgs, ModelState]{ID: req.ID, Inputs: in, State: ModelState{in, rec}}, nil
}

// Delete removes the model, if this resource still owns it.
func (*Model) Delete(ctx context.Context, req infer.DeleteRequest[ModelState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
