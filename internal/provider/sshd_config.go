package provider

import (
	"context"
	"maps"
	"slices"

	"github.com/pulumi/pulumi-go-provider/infer"
)

// SshdConfig is settings of the host's SSH server.
type SshdConfig struct{}

var (
	_ infer.CustomResource[SshdConfigArgs, SshdConfigState] = (*SshdConfig)(nil)
	_ infer.CustomCheck[SshdConfigArgs]                     = (*SshdConfig)(nil)
	_ infer.CustomRead[SshdConfigArgs, SshdConfigState]     = (*SshdConfig)(nil)
	_ infer.CustomUpdate[SshdConfigArgs, SshdConfigState]   = (*SshdConfig)(nil)
	_ infer.CustomDelete[SshdConfigState]                   = (*SshdConfig)(nil)
	_ infer.Annotated                                       = (*SshdConfig)(nil)
	_ infer.Annotated                                       = (*SshdConfigArgs)(nil)
)

// SshdConfigArgs are the inputs.
type SshdConfigArgs struct {
	Path      string            `pulumi:"path,optional" provider:"replaceOnChanges"`
	Content   string            `pulumi:"content"`
	Effective map[string]string `pulumi:"effective,optional"`
	Guard     *bool             `pulumi:"guard,optional"`
	Adopt     bool              `pulumi:"adopt,optional"`
}

// SshdConfigState is what is known of it on the host.
type SshdConfigState struct {
	SshdConfigArgs
	Recorded
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (r *SshdConfig) Annotate(a infer.Annotator) {
	a.SetToken("index", "SshdConfig")
	a.Describe(r, "Settings of the host's SSH server, in a file of their own. sshd checks them and is reloaded, and the change is undone by the host unless llmhost can still connect.")
}

// Annotate describes the inputs in the schema.
func (a *SshdConfigArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Path, "Absolute path of its file on the host.")
	an.SetDefault(&a.Path, "/etc/ssh/sshd_config.d/10-llmhost.conf")
	an.Describe(&a.Content, "The settings, as sshd_config(5) has them.")
	an.Describe(&a.Effective, "What must be in force: values by keyword in lower case, as sshd -T prints them. Another file that says something else shows here as drift.")
	describeGuard(an, &a.Guard, "It is, if nothing is said.")
	describeAdopt(an, &a.Adopt)
}

// Check validates the inputs.
func (*SshdConfig) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[SshdConfigArgs], error) {
	return check(ctx, req, func(c *checks, in *SshdConfigArgs) {
		c.absolutePath("path", in.Path)
	})
}

// Create writes the file and brings it into force.
func (r *SshdConfig) Create(ctx context.Context, req infer.CreateRequest[SshdConfigArgs]) (infer.CreateResponse[SshdConfigState], error) {
	if req.DryRun {
		return infer.CreateResponse[SshdConfigState]{Output: SshdConfigState{req.Inputs, pending()}}, nil
	}
	rec, err := r.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[SshdConfigState]{}, err
	}
	return infer.CreateResponse[SshdConfigState]{ID: req.Inputs.Path, Output: SshdConfigState{req.Inputs, rec}}, nil
}

// Update changes what differs.
func (r *SshdConfig) Update(ctx context.Context, req infer.UpdateRequest[SshdConfigArgs, SshdConfigState]) (infer.UpdateResponse[SshdConfigState], error) {
	if req.DryRun {
		return infer.UpdateResponse[SshdConfigState]{Output: SshdConfigState{req.Inputs, req.State.Recorded}}, nil
	}
	rec, err := r.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[SshdConfigState]{}, err
	}
	return infer.UpdateResponse[SshdConfigState]{Output: SshdConfigState{req.Inputs, rec}}, nil
}

func (*SshdConfig) put(ctx context.Context, in SshdConfigArgs, generation *string) (Recorded, error) {
	return putConfiguration(ctx, configurationPut{path: in.Path, content: in.Content, generation: generation, adopt: in.Adopt, guarded: always(in.Guard), effective: in.Effective})
}

// Read observes the file and what is in force.
func (*SshdConfig) Read(ctx context.Context, req infer.ReadRequest[SshdConfigArgs, SshdConfigState]) (infer.ReadResponse[SshdConfigArgs, SshdConfigState], error) {
	seen, err := observeConfiguration(ctx, req.ID, slices.Sorted(maps.Keys(req.Inputs.Effective))...)
	if err != nil || seen == nil {
		return infer.ReadResponse[SshdConfigArgs, SshdConfigState]{}, err
	}
	in := req.Inputs
	in.Path, in.Content = req.ID, seen.GetContent()
	if len(req.Inputs.Effective) > 0 {
		in.Effective = seen.GetEffective()
	}
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[SshdConfigArgs, SshdConfigState]{ID: req.ID, Inputs: in, State: SshdConfigState{in, rec}}, nil
}

// Delete takes it out of force and removes its file, if this resource still owns it.
func (*SshdConfig) Delete(ctx context.Context, req infer.DeleteRequest[SshdConfigState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, removeGuarded(ctx, req.ID, req.State.Generation, always(req.State.Guard))
}
