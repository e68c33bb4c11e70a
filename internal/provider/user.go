package provider

import (
	"context"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// SystemUser is a system user with a group of the same name.
type SystemUser struct{}

var (
	_ infer.CustomResource[SystemUserArgs, SystemUserState] = (*SystemUser)(nil)
	_ infer.CustomCheck[SystemUserArgs]                     = (*SystemUser)(nil)
	_ infer.CustomRead[SystemUserArgs, SystemUserState]     = (*SystemUser)(nil)
	_ infer.CustomUpdate[SystemUserArgs, SystemUserState]   = (*SystemUser)(nil)
	_ infer.CustomDelete[SystemUserState]                   = (*SystemUser)(nil)
	_ infer.Annotated                                       = (*SystemUser)(nil)
	_ infer.Annotated                                       = (*SystemUserArgs)(nil)
)

// SystemUserArgs are a system user's inputs.
type SystemUserArgs struct {
	Name    string   `pulumi:"name" provider:"replaceOnChanges"`
	Home    string   `pulumi:"home,optional"`
	Shell   string   `pulumi:"shell,optional"`
	Comment string   `pulumi:"comment,optional"`
	Groups  []string `pulumi:"groups,optional"`
	Locked  *bool    `pulumi:"locked,optional"`

	Containers bool     `pulumi:"containers,optional"`
	Lacks      []string `pulumi:"lacks,optional"`

	Adopt bool `pulumi:"adopt,optional"`
}

// defaultHome is no folder, by its name.
const defaultHome = "/nonexistent"

// SystemUserState is what is known of a system user on the host.
type SystemUserState struct {
	SystemUserArgs
	Recorded
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (u *SystemUser) Annotate(a infer.Annotator) {
	a.SetToken("index", "SystemUser")
	a.Describe(u, "A system user with a group of the same name, a locked password and, unless it runs containers, no home directory of its own.")
}

// Annotate describes the inputs in the schema.
func (a *SystemUserArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Name, "Name of the user and of its primary group.")
	an.Describe(&a.Home, "Home directory in the account's entry. It is created only for a user with `containers`.")
	an.SetDefault(&a.Home, defaultHome)
	an.Describe(&a.Shell, "Login shell.")
	an.SetDefault(&a.Shell, "/usr/sbin/nologin")
	an.Describe(&a.Comment, "The account's comment field.")
	an.SetDefault(&a.Comment, "")
	an.Describe(&a.Groups, "Supplementary groups, compared as a set. They must exist.")
	an.Describe(&a.Locked, "Always true: no password lets the user in. It is an input so that a password which somebody has set shows as drift.")
	an.SetDefault(&a.Locked, true)
	an.Describe(&a.Containers, "It runs containers without privileges: it gets its home directory, which is removed with it, a range of subordinate ids, and a service manager that runs without a login.")
	an.SetDefault(&a.Containers, false)
	an.Describe(&a.Lacks, "Always empty: what a user with `containers` doesn't have of that (`home`, `subordinateIds`, `linger`). It is an input so that it shows as drift.")
	describeAdopt(an, &a.Adopt)
}

// Check validates the inputs and puts the groups in order, so that a set compares as one.
func (*SystemUser) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[SystemUserArgs], error) {
	return check(ctx, req, func(c *checks, in *SystemUserArgs) {
		c.account("name", in.Name)
		if c.known("name") && in.Name == "root" {
			c.fail("name", "must not be root")
		}
		c.absolutePath("home", in.Home)
		c.absolutePath("shell", in.Shell)
		if strings.ContainsAny(in.Comment, ":\n") {
			c.fail("comment", "must not contain a colon or a newline, which end a field of /etc/passwd")
		}
		if c.known("locked") && in.Locked != nil && !*in.Locked {
			c.fail("locked", "must be true: a system user has no password")
		}
		if c.known("lacks") && len(in.Lacks) > 0 {
			c.fail("lacks", "must be empty: it only shows what is missing on the host")
		}
		if c.known("containers") && c.known("home") && in.Containers && in.Home == defaultHome {
			c.fail("home", "must be a folder of the user's own, since the images of its containers are there")
		}
		if !c.known("groups") {
			return
		}
		for _, g := range in.Groups {
			c.account("groups", g)
		}
		slices.Sort(in.Groups)
		in.Groups = slices.Compact(in.Groups)
	})
}

// Create makes the user.
func (u *SystemUser) Create(ctx context.Context, req infer.CreateRequest[SystemUserArgs]) (infer.CreateResponse[SystemUserState], error) {
	if req.DryRun {
		return infer.CreateResponse[SystemUserState]{Output: SystemUserState{req.Inputs, pending()}}, nil
	}
	rec, err := u.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[SystemUserState]{}, err
	}
	return infer.CreateResponse[SystemUserState]{ID: req.Inputs.Name, Output: SystemUserState{req.Inputs, rec}}, nil
}

// Update changes the user's entry and groups. Its uid stays.
func (u *SystemUser) Update(ctx context.Context, req infer.UpdateRequest[SystemUserArgs, SystemUserState]) (infer.UpdateResponse[SystemUserState], error) {
	if req.DryRun {
		return infer.UpdateResponse[SystemUserState]{Output: SystemUserState{req.Inputs, req.State.Recorded}}, nil
	}
	rec, err := u.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[SystemUserState]{}, err
	}
	return infer.UpdateResponse[SystemUserState]{Output: SystemUserState{req.Inputs, rec}}, nil
}

func (*SystemUser) put(ctx context.Context, in SystemUserArgs, generation *string) (Recorded, error) {
	h, err := connectToChange(ctx)
	if err != nil {
		return Recorded{}, err
	}
	c, err := claim(ctx, in.Name, generation, in.Adopt)
	if err != nil {
		return Recorded{}, err
	}
	resp, err := h.Agent().PutUser(ctx, &agentpb.PutUserRequest{
		Claim: c, Groups: in.Groups, Home: in.Home, Shell: in.Shell, Comment: in.Comment, Containers: in.Containers,
	})
	if err != nil {
		return Recorded{}, err
	}
	return recorded(resp.GetGeneration()), nil
}

// Read observes the user.
func (*SystemUser) Read(ctx context.Context, req infer.ReadRequest[SystemUserArgs, SystemUserState]) (infer.ReadResponse[SystemUserArgs, SystemUserState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[SystemUserArgs, SystemUserState]{}, err
	}
	seen, err := h.Agent().ObserveUser(ctx, &agentpb.ObserveUserRequest{Name: req.ID})
	if err != nil {
		return infer.ReadResponse[SystemUserArgs, SystemUserState]{}, err
	}
	if !seen.GetExists() {
		return infer.ReadResponse[SystemUserArgs, SystemUserState]{}, nil
	}
	locked := seen.GetLocked()
	in := req.Inputs
	in.Name, in.Locked = req.ID, &locked
	in.Home, in.Shell, in.Comment = seen.GetHome(), seen.GetShell(), seen.GetComment()
	in.Groups = sorted(seen.GetGroups())
	in.Lacks = nil
	if in.Containers {
		in.Lacks = sorted(seen.GetLacks())
	}
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[SystemUserArgs, SystemUserState]{ID: req.ID, Inputs: in, State: SystemUserState{in, rec}}, nil
}

// Delete removes the user, if this resource still owns it.
func (*SystemUser) Delete(ctx context.Context, req infer.DeleteRequest[SystemUserState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}

// sorted is a sorted copy, and nil for an empty list: an input that isn't set has no value.
func sorted(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}
