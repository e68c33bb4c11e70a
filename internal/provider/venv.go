package provider

import (
	"context"
	"path"
	"strings"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/requirements"
)

// Venv is a Python environment on the host.
type Venv struct{}

var (
	_ infer.CustomResource[VenvArgs, VenvState]       = (*Venv)(nil)
	_ infer.CustomCheck[VenvArgs]                     = (*Venv)(nil)
	_ infer.CustomRead[VenvArgs, VenvState]           = (*Venv)(nil)
	_ infer.CustomUpdate[VenvArgs, VenvState]         = (*Venv)(nil)
	_ infer.CustomDelete[VenvState]                   = (*Venv)(nil)
	_ infer.ExplicitDependencies[VenvArgs, VenvState] = (*Venv)(nil)
	_ infer.Annotated                                 = (*Venv)(nil)
	_ infer.Annotated                                 = (*VenvArgs)(nil)
	_ infer.Annotated                                 = (*VenvState)(nil)
)

// VenvArgs are an environment's inputs.
type VenvArgs struct {
	SHA256        string   `pulumi:"sha256" provider:"replaceOnChanges"`
	Root          string   `pulumi:"root,optional" provider:"replaceOnChanges"`
	Requirements  string   `pulumi:"requirements,optional"`
	Indexes       []string `pulumi:"indexes,optional"`
	EngineRoot    string   `pulumi:"engineRoot,optional"`
	ModifiedFiles []string `pulumi:"modifiedFiles,optional"`
	Adopt         bool     `pulumi:"adopt,optional"`
}

// VenvState is what is known of an environment on the host.
type VenvState struct {
	VenvArgs
	Recorded
	Path *string `pulumi:"path,optional"`
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (v *Venv) Annotate(a infer.Annotator) {
	a.SetToken("index", "Venv")
	a.Describe(v, "A Python environment in a folder named by the SHA-256 of its requirements file. Other requirements are another folder, so that a running server keeps its own.")
}

// Annotate describes the inputs in the schema.
func (a *VenvArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.SHA256, "SHA-256 of the requirements, in lower-case hexadecimal.")
	an.Describe(&a.Root, "Folder on the host that holds the environments.")
	an.SetDefault(&a.Root, "/opt/llmhost/venvs")
	an.Describe(&a.Requirements, "Text of the pip requirements file, in which each line has a version and a hash. A change of it changes `sha256`.")
	an.SetDefault(&a.Requirements, "")
	an.Describe(&a.Indexes, "Where the packages come from: addresses of indexes, and folders of wheels on the host. Empty is pip's own index. A change of it alone is no change: the hashes say what the packages are.")
	an.Describe(&a.EngineRoot, "Path of the `EngineRoot` in which pip runs. A change of it alone is no change.")
	an.SetDefault(&a.EngineRoot, "/opt/llmhost/root")
	an.Describe(&a.ModifiedFiles, "Always empty: files that aren't as they were built. It is an input so that they show as drift.")
	describeAdopt(an, &a.Adopt)
}

// Annotate describes the outputs in the schema.
func (s *VenvState) Annotate(an infer.Annotator) {
	an.Describe(&s.Path, "The environment's folder on the host: `root`/`sha256`. It is known in previews.")
}

func (a *VenvArgs) path() string { return path.Join(a.Root, a.SHA256) }

func venvState(in VenvArgs, rec Recorded) VenvState {
	folder := in.path()
	return VenvState{VenvArgs: in, Recorded: rec, Path: &folder}
}

// WireDependencies keeps the folder known in previews, as far as its parts are.
func (*Venv) WireDependencies(f infer.FieldSelector, args *VenvArgs, state *VenvState) {
	if args.SHA256 != "" && args.Root != "" { // an unknown input looks empty
		f.OutputField(&state.Path).AlwaysKnown()
	}
}

// Check validates the inputs.
func (*Venv) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[VenvArgs], error) {
	return check(ctx, req, func(c *checks, in *VenvArgs) {
		c.sha256("sha256", in.SHA256)
		c.absolutePath("root", in.Root)
		c.absolutePath("engineRoot", in.EngineRoot)
		if c.known("requirements") && in.Requirements != "" {
			if _, faults := requirements.Parse(in.Requirements); len(faults) > 0 {
				c.fail("requirements", "%v", faults[0])
			} else if digest := requirements.Digest(in.Requirements); c.known("sha256") && digest != in.SHA256 {
				c.fail("sha256", "must be the digest of the requirements, %s", digest)
			}
		}
		if c.known("indexes") {
			for _, index := range in.Indexes {
				if !strings.HasPrefix(index, "https://") && (!path.IsAbs(index) || path.Clean(index) != index) {
					c.fail("indexes", "must be https addresses or absolute paths, not %q", index)
				}
			}
		}
		if c.known("modifiedFiles") && len(in.ModifiedFiles) > 0 {
			c.fail("modifiedFiles", "must be empty: it only shows what has changed on the host")
		}
	})
}

// Create builds the environment.
func (v *Venv) Create(ctx context.Context, req infer.CreateRequest[VenvArgs]) (infer.CreateResponse[VenvState], error) {
	if req.DryRun {
		return infer.CreateResponse[VenvState]{Output: venvState(req.Inputs, pending())}, nil
	}
	rec, err := v.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[VenvState]{}, err
	}
	return infer.CreateResponse[VenvState]{ID: req.Inputs.path(), Output: venvState(req.Inputs, rec)}, nil
}

// Update builds the environment anew: something in the folder was modified.
func (v *Venv) Update(ctx context.Context, req infer.UpdateRequest[VenvArgs, VenvState]) (infer.UpdateResponse[VenvState], error) {
	if req.DryRun {
		return infer.UpdateResponse[VenvState]{Output: venvState(req.Inputs, req.State.Recorded)}, nil
	}
	rec, err := v.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[VenvState]{}, err
	}
	return infer.UpdateResponse[VenvState]{Output: venvState(req.Inputs, rec)}, nil
}

func (*Venv) put(ctx context.Context, in VenvArgs, generation *string) (Recorded, error) {
	h, err := connectToChange(ctx)
	if err != nil {
		return Recorded{}, err
	}
	c, err := claim(ctx, in.path(), generation, in.Adopt)
	if err != nil {
		return Recorded{}, err
	}
	events, err := h.Agent().PutVenv(ctx, &agentpb.PutVenvRequest{Claim: c, Requirements: in.Requirements, Indexes: in.Indexes, Root: in.EngineRoot})
	return installation(ctx, events, err)
}

// Read observes the environment's folder.
func (*Venv) Read(ctx context.Context, req infer.ReadRequest[VenvArgs, VenvState]) (infer.ReadResponse[VenvArgs, VenvState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[VenvArgs, VenvState]{}, err
	}
	seen, err := h.Agent().ObserveVenv(ctx, &agentpb.ObserveVenvRequest{Path: req.ID})
	if err != nil {
		return infer.ReadResponse[VenvArgs, VenvState]{}, err
	}
	if !seen.GetExists() {
		return infer.ReadResponse[VenvArgs, VenvState]{}, nil
	}
	in := req.Inputs
	in.Root, in.SHA256 = path.Dir(req.ID), path.Base(req.ID)
	in.ModifiedFiles = sorted(seen.GetModifiedFiles())
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[VenvArgs, VenvState]{ID: req.ID, Inputs: in, State: venvState(in, rec)}, nil
}

// Delete removes the environment's folder, if this resource still owns it.
func (*Venv) Delete(ctx context.Context, req infer.DeleteRequest[VenvState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
