package provider

import (
	"context"

	"github.com/pulumi/pulumi-go-provider/infer"
)

// AuditRules is rules of the kernel's audit.
type AuditRules struct{}

var (
	_ infer.CustomResource[AuditRulesArgs, AuditRulesState] = (*AuditRules)(nil)
	_ infer.CustomCheck[AuditRulesArgs]                     = (*AuditRules)(nil)
	_ infer.CustomRead[AuditRulesArgs, AuditRulesState]     = (*AuditRules)(nil)
	_ infer.CustomUpdate[AuditRulesArgs, AuditRulesState]   = (*AuditRules)(nil)
	_ infer.CustomDelete[AuditRulesState]                   = (*AuditRules)(nil)
	_ infer.Annotated                                       = (*AuditRules)(nil)
	_ infer.Annotated                                       = (*AuditRulesArgs)(nil)
)

// AuditRulesArgs are the inputs.
type AuditRulesArgs struct {
	Path    string   `pulumi:"path,optional" provider:"replaceOnChanges"`
	Content string   `pulumi:"content"`
	Loaded  *bool    `pulumi:"loaded,optional"`
	Changes []string `pulumi:"changes,optional"`
	Adopt   bool     `pulumi:"adopt,optional"`
}

// AuditRulesState is what is known of it on the host.
type AuditRulesState struct {
	AuditRulesArgs
	Recorded
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (r *AuditRules) Annotate(a infer.Annotator) {
	a.SetToken("index", "AuditRules")
	a.Describe(r, "Rules of the kernel's audit that watch paths, in the kernel and in a file for the next boot. Rules with other keys than llmhost's are neither read nor changed.")
}

// Annotate describes the inputs in the schema.
func (a *AuditRulesArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Path, "Absolute path of its file on the host.")
	an.SetDefault(&a.Path, "/etc/audit/rules.d/60-llmhost.rules")
	an.Describe(&a.Content, "The rules, one a line, each with a key that begins with `llmhost-`.")
	an.Describe(&a.Loaded, "Always true: it is in force. It is an input so that one which somebody has taken out of force shows as drift.")
	an.SetDefault(&a.Loaded, true)
	an.Describe(&a.Changes, changesDoc+"rules.")
	describeAdopt(an, &a.Adopt)
}

// Check validates the inputs.
func (*AuditRules) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[AuditRulesArgs], error) {
	return check(ctx, req, func(c *checks, in *AuditRulesArgs) {
		c.absolutePath("path", in.Path)
		if c.known("loaded") && !*in.Loaded {
			c.fail("loaded", "must be true: it only shows that somebody has taken it out of force")
		}
		if c.known("changes") && len(in.Changes) > 0 {
			c.fail("changes", "must be empty: it only shows what was changed by hand")
		}
	})
}

// Create writes the file and brings it into force.
func (r *AuditRules) Create(ctx context.Context, req infer.CreateRequest[AuditRulesArgs]) (infer.CreateResponse[AuditRulesState], error) {
	if req.DryRun {
		return infer.CreateResponse[AuditRulesState]{Output: AuditRulesState{req.Inputs, pending()}}, nil
	}
	rec, err := r.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[AuditRulesState]{}, err
	}
	return infer.CreateResponse[AuditRulesState]{ID: req.Inputs.Path, Output: AuditRulesState{req.Inputs, rec}}, nil
}

// Update changes what differs.
func (r *AuditRules) Update(ctx context.Context, req infer.UpdateRequest[AuditRulesArgs, AuditRulesState]) (infer.UpdateResponse[AuditRulesState], error) {
	if req.DryRun {
		return infer.UpdateResponse[AuditRulesState]{Output: AuditRulesState{req.Inputs, req.State.Recorded}}, nil
	}
	rec, err := r.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[AuditRulesState]{}, err
	}
	return infer.UpdateResponse[AuditRulesState]{Output: AuditRulesState{req.Inputs, rec}}, nil
}

func (*AuditRules) put(ctx context.Context, in AuditRulesArgs, generation *string) (Recorded, error) {
	return putConfiguration(ctx, configurationPut{path: in.Path, content: in.Content, generation: generation, adopt: in.Adopt})
}

// Read observes the file and what is in force.
func (*AuditRules) Read(ctx context.Context, req infer.ReadRequest[AuditRulesArgs, AuditRulesState]) (infer.ReadResponse[AuditRulesArgs, AuditRulesState], error) {
	seen, err := observeConfiguration(ctx, req.ID)
	if err != nil || seen == nil {
		return infer.ReadResponse[AuditRulesArgs, AuditRulesState]{}, err
	}
	in := req.Inputs
	in.Path, in.Content = req.ID, seen.GetContent()
	loaded := seen.GetLoaded()
	in.Loaded = &loaded
	in.Changes = seen.GetChanges()
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[AuditRulesArgs, AuditRulesState]{ID: req.ID, Inputs: in, State: AuditRulesState{in, rec}}, nil
}

// Delete takes it out of force and removes its file, if this resource still owns it.
func (*AuditRules) Delete(ctx context.Context, req infer.DeleteRequest[AuditRulesState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
