package provider

import (
	"context"

	"github.com/pulumi/pulumi-go-provider/infer"
)

// AppArmorProfile is a profile of AppArmor.
type AppArmorProfile struct{}

var (
	_ infer.CustomResource[AppArmorProfileArgs, AppArmorProfileState] = (*AppArmorProfile)(nil)
	_ infer.CustomCheck[AppArmorProfileArgs]                          = (*AppArmorProfile)(nil)
	_ infer.CustomRead[AppArmorProfileArgs, AppArmorProfileState]     = (*AppArmorProfile)(nil)
	_ infer.CustomUpdate[AppArmorProfileArgs, AppArmorProfileState]   = (*AppArmorProfile)(nil)
	_ infer.CustomDelete[AppArmorProfileState]                        = (*AppArmorProfile)(nil)
	_ infer.Annotated                                                 = (*AppArmorProfile)(nil)
	_ infer.Annotated                                                 = (*AppArmorProfileArgs)(nil)
)

// AppArmorProfileArgs are the inputs.
type AppArmorProfileArgs struct {
	Path    string   `pulumi:"path,optional" provider:"replaceOnChanges"`
	Content string   `pulumi:"content"`
	Mode    string   `pulumi:"mode,optional"`
	Changes []string `pulumi:"changes,optional"`
	Adopt   bool     `pulumi:"adopt,optional"`
}

// AppArmorProfileState is what is known of it on the host.
type AppArmorProfileState struct {
	AppArmorProfileArgs
	Recorded
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (r *AppArmorProfile) Annotate(a infer.Annotator) {
	a.SetToken("index", "AppArmorProfile")
	a.Describe(r, "A profile of AppArmor, in the kernel and in a file for the next boot. It is named after its file, and confines whoever names it.")
}

// Annotate describes the inputs in the schema.
func (a *AppArmorProfileArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Path, "Absolute path of its file on the host.")
	an.Describe(&a.Content, "The profile.")
	an.Describe(&a.Mode, "`enforce` or `complain`, as the profile's flags say. A profile that isn't loaded, or is in another mode, shows here as drift.")
	an.SetDefault(&a.Mode, "enforce")
	an.Describe(&a.Changes, changesDoc+"another profile of the same name.")
	describeAdopt(an, &a.Adopt)
}

// Check validates the inputs.
func (*AppArmorProfile) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[AppArmorProfileArgs], error) {
	return check(ctx, req, func(c *checks, in *AppArmorProfileArgs) {
		c.absolutePath("path", in.Path)
		c.oneOf("mode", in.Mode, "enforce", "complain")
		if c.known("changes") && len(in.Changes) > 0 {
			c.fail("changes", "must be empty: it only shows what was changed by hand")
		}
	})
}

// Create writes the file and brings it into force.
func (r *AppArmorProfile) Create(ctx context.Context, req infer.CreateRequest[AppArmorProfileArgs]) (infer.CreateResponse[AppArmorProfileState], error) {
	if req.DryRun {
		return infer.CreateResponse[AppArmorProfileState]{Output: AppArmorProfileState{req.Inputs, pending()}}, nil
	}
	rec, err := r.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[AppArmorProfileState]{}, err
	}
	return infer.CreateResponse[AppArmorProfileState]{ID: req.Inputs.Path, Output: AppArmorProfileState{req.Inputs, rec}}, nil
}

// Update changes what differs.
func (r *AppArmorProfile) Update(ctx context.Context, req infer.UpdateRequest[AppArmorProfileArgs, AppArmorProfileState]) (infer.UpdateResponse[AppArmorProfileState], error) {
	if req.DryRun {
		return infer.UpdateResponse[AppArmorProfileState]{Output: AppArmorProfileState{req.Inputs, req.State.Recorded}}, nil
	}
	rec, err := r.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[AppArmorProfileState]{}, err
	}
	return infer.UpdateResponse[AppArmorProfileState]{Output: AppArmorProfileState{req.Inputs, rec}}, nil
}

func (*AppArmorProfile) put(ctx context.Context, in AppArmorProfileArgs, generation *string) (Recorded, error) {
	return putConfiguration(ctx, configurationPut{path: in.Path, content: in.Content, generation: generation, adopt: in.Adopt})
}

// Read observes the file and what is in force.
func (*AppArmorProfile) Read(ctx context.Context, req infer.ReadRequest[AppArmorProfileArgs, AppArmorProfileState]) (infer.ReadResponse[AppArmorProfileArgs, AppArmorProfileState], error) {
	seen, err := observeConfiguration(ctx, req.ID)
	if err != nil || seen == nil {
		return infer.ReadResponse[AppArmorProfileArgs, AppArmorProfileState]{}, err
	}
	in := req.Inputs
	in.Path, in.Content = req.ID, seen.GetContent()
	in.Mode, in.Changes = seen.GetMode(), seen.GetChanges()
	if in.Mode == "" {
		in.Mode = "not loaded"
	}
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[AppArmorProfileArgs, AppArmorProfileState]{ID: req.ID, Inputs: in, State: AppArmorProfileState{in, rec}}, nil
}

// Delete takes it out of force and removes its file, if this resource still owns it.
func (*AppArmorProfile) Delete(ctx context.Context, req infer.DeleteRequest[AppArmorProfileState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
