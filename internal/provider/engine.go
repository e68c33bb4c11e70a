package provider

import (
	"context"
	"path"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Engine is an inference engine on the host, unpacked from an archive that is named by its
// digest.
type Engine struct{}

var (
	_ infer.CustomResource[EngineArgs, EngineState]       = (*Engine)(nil)
	_ infer.CustomCheck[EngineArgs]                       = (*Engine)(nil)
	_ infer.CustomRead[EngineArgs, EngineState]           = (*Engine)(nil)
	_ infer.CustomUpdate[EngineArgs, EngineState]         = (*Engine)(nil)
	_ infer.CustomDelete[EngineState]                     = (*Engine)(nil)
	_ infer.ExplicitDependencies[EngineArgs, EngineState] = (*Engine)(nil)
	_ infer.Annotated                                     = (*Engine)(nil)
	_ infer.Annotated                                     = (*EngineArgs)(nil)
	_ infer.Annotated                                     = (*EngineState)(nil)
)

// EngineArgs are an engine's inputs.
type EngineArgs struct {
	SHA256        string   `pulumi:"sha256" provider:"replaceOnChanges"`
	Source        string   `pulumi:"source,optional"`
	Root          string   `pulumi:"root,optional" provider:"replaceOnChanges"`
	ModifiedFiles []string `pulumi:"modifiedFiles,optional"`
	Adopt         bool     `pulumi:"adopt,optional"`
}

// EngineState is what is known of an engine on the host.
type EngineState struct {
	EngineArgs
	Recorded
	Path *string `pulumi:"path,optional"`
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (e *Engine) Annotate(a infer.Annotator) {
	a.SetToken("index", "Engine")
	a.Describe(e, "An inference engine, unpacked from an archive into a folder named by the archive's SHA-256. Another archive is another folder, so that a running server keeps its own.")
}

// Annotate describes the inputs in the schema.
func (a *EngineArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.SHA256, "SHA-256 of the archive, in lower-case hexadecimal.")
	an.Describe(&a.Source, "Absolute path of the archive (.tar, .tar.gz or .tar.zst) on the machine that runs Pulumi. It is read only when bytes must be sent, and a change of it alone is no change.")
	an.SetDefault(&a.Source, "")
	an.Describe(&a.Root, "Folder on the host that holds the engines.")
	an.SetDefault(&a.Root, "/opt/llmhost/engines")
	an.Describe(&a.ModifiedFiles, "Always empty: files that aren't as they were unpacked. It is an input so that they show as drift.")
	describeAdopt(an, &a.Adopt)
}

// Annotate describes the outputs in the schema.
func (s *EngineState) Annotate(an infer.Annotator) {
	an.Describe(&s.Path, "The engine's folder on the host: `root`/`sha256`. It is known in previews.")
}

func (a *EngineArgs) path() string { return path.Join(a.Root, a.SHA256) }

func engineState(in EngineArgs, rec Recorded) EngineState {
	folder := in.path()
	return EngineState{EngineArgs: in, Recorded: rec, Path: &folder}
}

// WireDependencies keeps the folder known in previews, as far as its parts are.
func (*Engine) WireDependencies(f infer.FieldSelector, args *EngineArgs, state *EngineState) {
	if args.SHA256 != "" && args.Root != "" { // an unknown input looks empty
		f.OutputField(&state.Path).AlwaysKnown()
	}
}

// Check validates the inputs.
func (*Engine) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[EngineArgs], error) {
	return check(ctx, req, func(c *checks, in *EngineArgs) {
		c.sha256("sha256", in.SHA256)
		c.localSource("source", in.Source)
		if c.known("source") && in.Source != "" {
			if _, err := archiveFormat(in.Source); err != nil {
				c.fail("source", "%v", err)
			}
		}
		c.absolutePath("root", in.Root)
		if c.known("modifiedFiles") && len(in.ModifiedFiles) > 0 {
			c.fail("modifiedFiles", "must be empty: it only shows what has changed on the host")
		}
	})
}

// Create pushes and unpacks the archive.
func (e *Engine) Create(ctx context.Context, req infer.CreateRequest[EngineArgs]) (infer.CreateResponse[EngineState], error) {
	if req.DryRun {
		return infer.CreateResponse[EngineState]{Output: engineState(req.Inputs, pending())}, nil
	}
	rec, err := e.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[EngineState]{}, err
	}
	return infer.CreateResponse[EngineState]{ID: req.Inputs.path(), Output: engineState(req.Inputs, rec)}, nil
}

// Update unpacks the archive anew: something in the folder was modified.
func (e *Engine) Update(ctx context.Context, req infer.UpdateRequest[EngineArgs, EngineState]) (infer.UpdateResponse[EngineState], error) {
	if req.DryRun {
		return infer.UpdateResponse[EngineState]{Output: engineState(req.Inputs, req.State.Recorded)}, nil
	}
	rec, err := e.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[EngineState]{}, err
	}
	return infer.UpdateResponse[EngineState]{Output: engineState(req.Inputs, rec)}, nil
}

// Read observes the engine's folder.
func (*Engine) Read(ctx context.Context, req infer.ReadRequest[EngineArgs, EngineState]) (infer.ReadResponse[EngineArgs, EngineState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[EngineArgs, EngineState]{}, err
	}
	seen, err := h.Agent().ObserveEngine(ctx, &agentpb.ObserveEngineRequest{Path: req.ID})
	if err != nil {
		return infer.ReadResponse[EngineArgs, EngineState]{}, err
	}
	if !seen.GetExists() {
		return infer.ReadResponse[EngineArgs, EngineState]{}, nil
	}
	in := req.Inputs
	in.Root, in.SHA256 = path.Dir(req.ID), path.Base(req.ID)
	in.ModifiedFiles = sorted(seen.GetModifiedFiles())
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[EngineArgs, EngineState]{ID: req.ID, Inputs: in, State: engineState(in, rec)}, nil
}

// Delete removes the engine's folder, if this resource still owns it.
func (*Engine) Delete(ctx context.Context, req infer.DeleteRequest[EngineState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
