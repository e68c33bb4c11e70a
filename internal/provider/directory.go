package provider

import (
	"context"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Directory is a directory on the host.
type Directory struct{}

var (
	_ infer.CustomResource[DirectoryArgs, DirectoryState] = (*Directory)(nil)
	_ infer.CustomCheck[DirectoryArgs]                    = (*Directory)(nil)
	_ infer.CustomRead[DirectoryArgs, DirectoryState]     = (*Directory)(nil)
	_ infer.CustomUpdate[DirectoryArgs, DirectoryState]   = (*Directory)(nil)
	_ infer.CustomDelete[DirectoryState]                  = (*Directory)(nil)
	_ infer.Annotated                                     = (*Directory)(nil)
	_ infer.Annotated                                     = (*DirectoryArgs)(nil)
)

// DirectoryArgs are a directory's inputs.
type DirectoryArgs struct {
	Path  string `pulumi:"path" provider:"replaceOnChanges"`
	Mode  string `pulumi:"mode,optional"`
	Owner string `pulumi:"owner,optional"`
	Group string `pulumi:"group,optional"`
	Adopt bool   `pulumi:"adopt,optional"`
}

// DirectoryState is what is known of a directory on the host.
type DirectoryState struct {
	DirectoryArgs
	Recorded
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (d *Directory) Annotate(a infer.Annotator) {
	a.SetToken("index", "Directory")
	a.Describe(d, "A directory on the host. What is in it isn't managed; it is deleted only when it is empty.")
}

// Annotate describes the inputs in the schema.
func (a *DirectoryArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Path, "Absolute path on the host.")
	an.Describe(&a.Mode, "Permission bits as four octal digits.")
	an.SetDefault(&a.Mode, "0755")
	an.Describe(&a.Owner, "Name of the owning user.")
	an.SetDefault(&a.Owner, "root")
	an.Describe(&a.Group, "Name of the owning group.")
	an.SetDefault(&a.Group, "root")
	describeAdopt(an, &a.Adopt)
}

// Check validates the inputs.
func (*Directory) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[DirectoryArgs], error) {
	return check(ctx, req, func(c *checks, in *DirectoryArgs) {
		c.absolutePath("path", in.Path)
		c.mode("mode", in.Mode)
		c.account("owner", in.Owner)
		c.account("group", in.Group)
	})
}

// Create makes the directory.
func (d *Directory) Create(ctx context.Context, req infer.CreateRequest[DirectoryArgs]) (infer.CreateResponse[DirectoryState], error) {
	if req.DryRun {
		return infer.CreateResponse[DirectoryState]{Output: DirectoryState{req.Inputs, pending()}}, nil
	}
	rec, err := d.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[DirectoryState]{}, err
	}
	return infer.CreateResponse[DirectoryState]{ID: req.Inputs.Path, Output: DirectoryState{req.Inputs, rec}}, nil
}

// Update sets the directory's mode and owners.
func (d *Directory) Update(ctx context.Context, req infer.UpdateRequest[DirectoryArgs, DirectoryState]) (infer.UpdateResponse[DirectoryState], error) {
	if req.DryRun {
		return infer.UpdateResponse[DirectoryState]{Output: DirectoryState{req.Inputs, req.State.Recorded}}, nil
	}
	rec, err := d.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[DirectoryState]{}, err
	}
	return infer.UpdateResponse[DirectoryState]{Output: DirectoryState{req.Inputs, rec}}, nil
}

func (*Directory) put(ctx context.Context, in DirectoryArgs, generation *string) (Recorded, error) {
	mode, err := parseMode(in.Mode)
	if err != nil {
		return Recorded{}, err
	}
	h, err := connectToChange(ctx)
	if err != nil {
		return Recorded{}, err
	}
	c, err := claim(ctx, in.Path, generation, in.Adopt)
	if err != nil {
		return Recorded{}, err
	}
	resp, err := h.Agent().PutDirectory(ctx, &agentpb.PutDirectoryRequest{
		Claim: c, Mode: mode, Owner: in.Owner, Group: in.Group,
	})
	if err != nil {
		return Recorded{}, err
	}
	return recorded(resp.GetGeneration()), nil
}

// Read observes the directory. Something else at its path is not a directory with other
// properties: the directory is gone.
func (*Directory) Read(ctx context.Context, req infer.ReadRequest[DirectoryArgs, DirectoryState]) (infer.ReadResponse[DirectoryArgs, DirectoryState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[DirectoryArgs, DirectoryState]{}, err
	}
	seen, err := h.Agent().ObservePath(ctx, &agentpb.ObservePathRequest{Path: req.ID, Kind: "Directory"})
	if err != nil {
		return infer.ReadResponse[DirectoryArgs, DirectoryState]{}, err
	}
	if !seen.GetExists() || seen.GetType() != "directory" {
		return infer.ReadResponse[DirectoryArgs, DirectoryState]{}, nil
	}
	in := req.Inputs
	in.Path = req.ID
	in.Mode, in.Owner, in.Group = formatMode(seen.GetMode()), seen.GetOwner(), seen.GetGroup()
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[DirectoryArgs, DirectoryState]{ID: req.ID, Inputs: in, State: DirectoryState{in, rec}}, nil
}

// Delete removes the directory, if it is empty and this resource still owns it.
func (*Directory) Delete(ctx context.Context, req infer.DeleteRequest[DirectoryState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
