package provider

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// ComposeProject is a Docker Compose project on the host.
type ComposeProject struct{}

var (
	_ infer.CustomResource[ComposeProjectArgs, ComposeProjectState] = (*ComposeProject)(nil)
	_ infer.CustomCheck[ComposeProjectArgs]                         = (*ComposeProject)(nil)
	_ infer.CustomRead[ComposeProjectArgs, ComposeProjectState]     = (*ComposeProject)(nil)
	_ infer.CustomUpdate[ComposeProjectArgs, ComposeProjectState]   = (*ComposeProject)(nil)
	_ infer.CustomDelete[ComposeProjectState]                       = (*ComposeProject)(nil)
	_ infer.Annotated                                               = (*ComposeProject)(nil)
	_ infer.Annotated                                               = (*ComposeProjectArgs)(nil)
	_ infer.Annotated                                               = (*ComposeProjectState)(nil)
)

// ComposeProjectArgs are a project's inputs.
type ComposeProjectArgs struct {
	Name        string               `pulumi:"name" provider:"replaceOnChanges"`
	Content     string               `pulumi:"content"`
	Accounts    map[string]string    `pulumi:"accounts,optional"`
	Folders     map[string]string    `pulumi:"folders,optional"`
	Readiness   map[string]Readiness `pulumi:"readiness,optional"`
	Differences map[string]string    `pulumi:"differences,optional"`
	Adopt       bool                 `pulumi:"adopt,optional"`
}

// ComposeProjectState is what is known of a project on the host.
type ComposeProjectState struct {
	ComposeProjectArgs
	Recorded
	Images map[string]string `pulumi:"images,optional"`
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (p *ComposeProject) Annotate(a infer.Annotator) {
	a.SetToken("index", "ComposeProject")
	a.Describe(p, "A Docker Compose project: its file in /etc/llmhost/compose/NAME, and the containers that Docker Compose has made from it. "+
		"It counts as deployed only when its servers have really answered; a change that doesn't get there is taken back.")
}

// Annotate describes the inputs in the schema.
func (a *ComposeProjectArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Name, "Name of the project.")
	an.Describe(&a.Content, "Text of compose.yaml. Images are never pulled: they have to be on the host.")
	an.Describe(&a.Accounts, "Variables in the text by name, each `user:NAME` or `group:NAME`: the account's number, which only the host knows.")
	an.Describe(&a.Folders, "Folders in /run/llmhost for the servers' sockets by path, each `OWNER:GROUP`. They are made at each boot.")
	an.Describe(&a.Readiness, "How to ask the server in a service whether it works, by the service's name.")
	an.Describe(&a.Differences, "Always empty: what of the containers isn't as it was made, by `SERVICE.PROPERTY`. It is an input so that it shows as drift.")
	describeAdopt(an, &a.Adopt)
}

// Annotate describes the outputs in the schema.
func (s *ComposeProjectState) Annotate(an infer.Annotator) {
	an.Describe(&s.Images, "Ids of the images that the containers were made from, by service.")
}

// projectName is what Compose takes as a project's name (Compose specification, name).
var projectName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

var (
	accountVariable = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`)
	accountOfHost   = regexp.MustCompile(`^(user|group):[a-z_][a-z0-9_-]{0,31}$`)
	socketFolder    = regexp.MustCompile(`^/run/llmhost/[a-z0-9][a-z0-9_-]*$`)
	ownerAndGroup   = regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]{0,31}:[a-z0-9_][a-z0-9_-]{0,31}$`)
)

// Check validates the inputs.
func (*ComposeProject) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[ComposeProjectArgs], error) {
	return check(ctx, req, func(c *checks, in *ComposeProjectArgs) {
		if c.known("name") && !projectName.MatchString(in.Name) {
			c.fail("name", "must be lower-case letters, digits, _ and -, a letter or digit first, 63 at most, not %q", in.Name)
		}
		if c.known("content") && strings.TrimSpace(in.Content) == "" {
			c.fail("content", "must not be empty")
		}
		if c.known("accounts") {
			c.each("accounts", in.Accounts, accountVariable, accountOfHost, "NAME = user:NAME or group:NAME")
		}
		if c.known("folders") {
			c.each("folders", in.Folders, socketFolder, ownerAndGroup, "/run/llmhost/NAME = OWNER:GROUP")
		}
		if c.known("readiness") {
			for _, service := range slices.Sorted(maps.Keys(in.Readiness)) {
				r := in.Readiness[service]
				c.readiness(&r)
			}
		}
		if c.known("differences") && len(in.Differences) > 0 {
			c.fail("differences", "must be empty: it only shows what has changed on the host")
		}
	})
}

// each demands a form of all keys and values of a map.
func (c *checks) each(property string, m map[string]string, key, value *regexp.Regexp, form string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if !key.MatchString(k) || !value.MatchString(m[k]) {
			c.fail(property, "%q = %q must be of the form %s", k, m[k], form)
		}
	}
}

// Create makes the project's containers and waits until their servers answer.
func (p *ComposeProject) Create(ctx context.Context, req infer.CreateRequest[ComposeProjectArgs]) (infer.CreateResponse[ComposeProjectState], error) {
	if req.DryRun {
		return infer.CreateResponse[ComposeProjectState]{Output: ComposeProjectState{ComposeProjectArgs: req.Inputs, Recorded: pending()}}, nil
	}
	state, err := p.put(ctx, req.Inputs, nil)
	if err != nil && !installed(err) {
		return infer.CreateResponse[ComposeProjectState]{}, err
	}
	return infer.CreateResponse[ComposeProjectState]{ID: req.Inputs.Name, Output: state}, err
}

// Update brings the containers to what the new text says, and those that somebody has changed to
// what they were. It is also how a project whose creation was only half a success is repaired.
func (p *ComposeProject) Update(ctx context.Context, req infer.UpdateRequest[ComposeProjectArgs, ComposeProjectState]) (infer.UpdateResponse[ComposeProjectState], error) {
	if req.DryRun {
		return infer.UpdateResponse[ComposeProjectState]{Output: ComposeProjectState{ComposeProjectArgs: req.Inputs, Recorded: req.State.Recorded}}, nil
	}
	state, err := p.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil && !installed(err) {
		return infer.UpdateResponse[ComposeProjectState]{}, err
	}
	return infer.UpdateResponse[ComposeProjectState]{Output: state}, err
}

// Read compares the containers with what was made.
func (*ComposeProject) Read(ctx context.Context, req infer.ReadRequest[ComposeProjectArgs, ComposeProjectState]) (infer.ReadResponse[ComposeProjectArgs, ComposeProjectState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[ComposeProjectArgs, ComposeProjectState]{}, err
	}
	ask := &agentpb.ObserveComposeRequest{Name: req.ID, Readiness: map[string]*agentpb.Readiness{}}
	for service, r := range req.Inputs.Readiness {
		ask.Readiness[service] = r.proto(min(r.TimeoutSeconds, readAnswerSeconds))
	}
	seen, err := h.Agent().ObserveCompose(ctx, ask)
	if err != nil {
		return infer.ReadResponse[ComposeProjectArgs, ComposeProjectState]{}, err
	}
	if !seen.GetExists() {
		return infer.ReadResponse[ComposeProjectArgs, ComposeProjectState]{}, nil
	}
	in := req.Inputs
	in.Name, in.Content, in.Differences = req.ID, seen.GetContent(), seen.GetDifferences()
	state := ComposeProjectState{ComposeProjectArgs: in, Recorded: observedRecord(ctx, req.State.Recorded, seen.GetOwned()), Images: imagesOf(seen)}
	return infer.ReadResponse[ComposeProjectArgs, ComposeProjectState]{ID: req.ID, Inputs: in, State: state}, nil
}

func imagesOf(seen *agentpb.ComposeState) map[string]string {
	images := map[string]string{}
	for _, c := range seen.GetContainers() {
		if c.GetService() != "" {
			images[c.GetService()] = c.GetImage()
		}
	}
	return images
}

// Delete removes the project's containers and file, if this resource still owns it.
func (*ComposeProject) Delete(ctx context.Context, req infer.DeleteRequest[ComposeProjectState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
