package provider

import (
	"context"
	"regexp"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Package is a package of the host's distribution.
type Package struct{}

var (
	_ infer.CustomResource[PackageArgs, PackageState] = (*Package)(nil)
	_ infer.CustomCheck[PackageArgs]                  = (*Package)(nil)
	_ infer.CustomRead[PackageArgs, PackageState]     = (*Package)(nil)
	_ infer.CustomUpdate[PackageArgs, PackageState]   = (*Package)(nil)
	_ infer.CustomDelete[PackageState]                = (*Package)(nil)
	_ infer.Annotated                                 = (*Package)(nil)
	_ infer.Annotated                                 = (*PackageArgs)(nil)
	_ infer.Annotated                                 = (*PackageState)(nil)
)

// PackageArgs are a package's inputs. "version" is a name that Pulumi keeps for a provider's own.
type PackageArgs struct {
	Name          string   `pulumi:"name" provider:"replaceOnChanges"`
	Version       string   `pulumi:"packageVersion,optional"`
	Hold          bool     `pulumi:"hold,optional"`
	ModifiedFiles []string `pulumi:"modifiedFiles,optional"`
}

// PackageState is what is known of a package on the host.
type PackageState struct {
	PackageArgs
	Recorded
	Installed *string `pulumi:"installed,optional"`
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (p *Package) Annotate(a infer.Annotator) {
	a.SetToken("index", "Package")
	a.Describe(p, "A package of the host's distribution. One that was there before is used, and stays when the resource is deleted; so does what was installed because the package needs it.")
}

// Annotate describes the inputs in the schema.
func (a *PackageArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Name, "The package's name.")
	an.Describe(&a.Version, "The version that has to be there, as the distribution writes it. Empty: the one that is installed, which the host may upgrade by itself, else the newest that is offered.")
	an.SetDefault(&a.Version, "")
	an.Describe(&a.Hold, "Keep the host from upgrading the package by itself. A package that was there before is left to its owner.")
	an.SetDefault(&a.Hold, false)
	an.Describe(&a.ModifiedFiles, "Always empty: programs and libraries that aren't as they were installed. It is an input so that they show as drift.")
}

// Annotate describes the outputs in the schema.
func (s *PackageState) Annotate(an infer.Annotator) {
	an.Describe(&s.Installed, "The version that is installed.")
}

var (
	packageName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._-]{0,98}[A-Za-z0-9+.]$`)
	packageVersion = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+~:^_-]{0,99}$`)
)

// Check validates the inputs.
func (*Package) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[PackageArgs], error) {
	return check(ctx, req, func(c *checks, in *PackageArgs) {
		if c.known("name") && !packageName.MatchString(in.Name) {
			c.fail("name", "must be the name of a package, not %q", in.Name)
		}
		if c.known("packageVersion") && in.Version != "" && !packageVersion.MatchString(in.Version) {
			c.fail("packageVersion", "must be the version of a package, not %q", in.Version)
		}
		if c.known("modifiedFiles") && len(in.ModifiedFiles) > 0 {
			c.fail("modifiedFiles", "must be empty: it only shows what has changed on the host")
		}
	})
}

// Create installs the package, if it isn't there.
func (p *Package) Create(ctx context.Context, req infer.CreateRequest[PackageArgs]) (infer.CreateResponse[PackageState], error) {
	if req.DryRun {
		return infer.CreateResponse[PackageState]{Output: PackageState{PackageArgs: req.Inputs, Recorded: pending()}}, nil
	}
	state, err := p.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[PackageState]{}, err
	}
	return infer.CreateResponse[PackageState]{ID: req.Inputs.Name, Output: state}, nil
}

// Update brings another version, or what of the package was changed.
func (p *Package) Update(ctx context.Context, req infer.UpdateRequest[PackageArgs, PackageState]) (infer.UpdateResponse[PackageState], error) {
	if req.DryRun {
		return infer.UpdateResponse[PackageState]{Output: PackageState{PackageArgs: req.Inputs, Recorded: req.State.Recorded}}, nil
	}
	state, err := p.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[PackageState]{}, err
	}
	return infer.UpdateResponse[PackageState]{Output: state}, nil
}

func (*Package) put(ctx context.Context, in PackageArgs, generation *string) (PackageState, error) {
	h, err := connectToChange(ctx)
	if err != nil {
		return PackageState{}, err
	}
	c, err := claim(ctx, in.Name, generation, false)
	if err != nil {
		return PackageState{}, err
	}
	events, err := h.Agent().PutPackage(ctx, &agentpb.PutPackageRequest{Claim: c, Version: in.Version, Hold: in.Hold})
	rec, err := installation(ctx, events, err)
	if err != nil {
		return PackageState{}, err
	}
	state := PackageState{PackageArgs: in, Recorded: rec}
	if seen, err := h.Agent().ObservePackage(ctx, &agentpb.ObservePackageRequest{Name: in.Name}); err == nil {
		version := seen.GetVersion()
		state.Installed = &version
	} // the next refresh tells the version
	return state, nil
}

// Read asks the host's package manager.
func (*Package) Read(ctx context.Context, req infer.ReadRequest[PackageArgs, PackageState]) (infer.ReadResponse[PackageArgs, PackageState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[PackageArgs, PackageState]{}, err
	}
	seen, err := h.Agent().ObservePackage(ctx, &agentpb.ObservePackageRequest{Name: req.ID})
	if err != nil {
		return infer.ReadResponse[PackageArgs, PackageState]{}, err
	}
	if !seen.GetExists() {
		return infer.ReadResponse[PackageArgs, PackageState]{}, nil
	}
	in, version := req.Inputs, seen.GetVersion()
	in.Name, in.ModifiedFiles = req.ID, sorted(seen.GetModifiedFiles())
	if in.Version != "" {
		in.Version = version
	}
	if !seen.GetOwned().GetAdopted() {
		in.Hold = seen.GetHeld()
	}
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[PackageArgs, PackageState]{ID: req.ID, Inputs: in, State: PackageState{in, rec, &version}}, nil
}

// Delete removes the package, if this resource has installed it and nothing needs it.
func (*Package) Delete(ctx context.Context, req infer.DeleteRequest[PackageState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
