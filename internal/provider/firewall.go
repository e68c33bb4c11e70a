package provider

import (
	"context"

	"github.com/pulumi/pulumi-go-provider/infer"
)

// Firewall is a packet filter of the host, in a table of llmhost's own.
type Firewall struct{}

var (
	_ infer.CustomResource[FirewallArgs, FirewallState] = (*Firewall)(nil)
	_ infer.CustomCheck[FirewallArgs]                   = (*Firewall)(nil)
	_ infer.CustomRead[FirewallArgs, FirewallState]     = (*Firewall)(nil)
	_ infer.CustomUpdate[FirewallArgs, FirewallState]   = (*Firewall)(nil)
	_ infer.CustomDelete[FirewallState]                 = (*Firewall)(nil)
	_ infer.Annotated                                   = (*Firewall)(nil)
	_ infer.Annotated                                   = (*FirewallArgs)(nil)
)

// FirewallArgs are the inputs.
type FirewallArgs struct {
	Path    string   `pulumi:"path,optional" provider:"replaceOnChanges"`
	Content string   `pulumi:"content"`
	Loaded  *bool    `pulumi:"loaded,optional"`
	Changes []string `pulumi:"changes,optional"`
	Guard   *bool    `pulumi:"guard,optional"`
	Adopt   bool     `pulumi:"adopt,optional"`
}

// FirewallState is what is known of it on the host.
type FirewallState struct {
	FirewallArgs
	Recorded
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (r *Firewall) Annotate(a infer.Annotator) {
	a.SetToken("index", "Firewall")
	a.Describe(r, "A packet filter in the nftables table `inet llmhost`, and in a file for the next boot. No other table is read or changed. The change is undone by the host unless llmhost can still connect.")
}

// Annotate describes the inputs in the schema.
func (a *FirewallArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Path, "Absolute path of its file on the host.")
	an.SetDefault(&a.Path, "/etc/llmhost/firewall.nft")
	an.Describe(&a.Content, "The ruleset: the lines that replace the table, and the table. Nothing else may be in it.")
	an.Describe(&a.Loaded, "Always true: it is in force. It is an input so that one which somebody has taken out of force shows as drift.")
	an.SetDefault(&a.Loaded, true)
	an.Describe(&a.Changes, changesDoc+"rules, by their chain.")
	describeGuard(an, &a.Guard, "It is, if nothing is said.")
	describeAdopt(an, &a.Adopt)
}

// Check validates the inputs.
func (*Firewall) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[FirewallArgs], error) {
	return check(ctx, req, func(c *checks, in *FirewallArgs) {
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
func (r *Firewall) Create(ctx context.Context, req infer.CreateRequest[FirewallArgs]) (infer.CreateResponse[FirewallState], error) {
	if req.DryRun {
		return infer.CreateResponse[FirewallState]{Output: FirewallState{req.Inputs, pending()}}, nil
	}
	rec, err := r.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[FirewallState]{}, err
	}
	return infer.CreateResponse[FirewallState]{ID: req.Inputs.Path, Output: FirewallState{req.Inputs, rec}}, nil
}

// Update changes what differs.
func (r *Firewall) Update(ctx context.Context, req infer.UpdateRequest[FirewallArgs, FirewallState]) (infer.UpdateResponse[FirewallState], error) {
	if req.DryRun {
		return infer.UpdateResponse[FirewallState]{Output: FirewallState{req.Inputs, req.State.Recorded}}, nil
	}
	rec, err := r.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[FirewallState]{}, err
	}
	return infer.UpdateResponse[FirewallState]{Output: FirewallState{req.Inputs, rec}}, nil
}

func (*Firewall) put(ctx context.Context, in FirewallArgs, generation *string) (Recorded, error) {
	return putConfiguration(ctx, configurationPut{path: in.Path, content: in.Content, generation: generation, adopt: in.Adopt, guarded: always(in.Guard)})
}

// Read observes the file and what is in force.
func (*Firewall) Read(ctx context.Context, req infer.ReadRequest[FirewallArgs, FirewallState]) (infer.ReadResponse[FirewallArgs, FirewallState], error) {
	seen, err := observeConfiguration(ctx, req.ID)
	if err != nil || seen == nil {
		return infer.ReadResponse[FirewallArgs, FirewallState]{}, err
	}
	in := req.Inputs
	in.Path, in.Content = req.ID, seen.GetContent()
	loaded := seen.GetLoaded()
	in.Loaded = &loaded
	in.Changes = seen.GetChanges()
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[FirewallArgs, FirewallState]{ID: req.ID, Inputs: in, State: FirewallState{in, rec}}, nil
}

// Delete takes it out of force and removes its file, if this resource still owns it.
func (*Firewall) Delete(ctx context.Context, req infer.DeleteRequest[FirewallState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, removeGuarded(ctx, req.ID, req.State.Generation, always(req.State.Guard))
}
