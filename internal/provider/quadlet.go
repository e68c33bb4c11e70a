package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Quadlet is a container that a user's service manager runs by Podman, without privileges.
type Quadlet struct{}

var (
	_ infer.CustomResource[QuadletArgs, QuadletState] = (*Quadlet)(nil)
	_ infer.CustomCheck[QuadletArgs]                  = (*Quadlet)(nil)
	_ infer.CustomRead[QuadletArgs, QuadletState]     = (*Quadlet)(nil)
	_ infer.CustomUpdate[QuadletArgs, QuadletState]   = (*Quadlet)(nil)
	_ infer.CustomDelete[QuadletState]                = (*Quadlet)(nil)
	_ infer.Annotated                                 = (*Quadlet)(nil)
	_ infer.Annotated                                 = (*QuadletArgs)(nil)
	_ infer.Annotated                                 = (*QuadletState)(nil)
)

// QuadletArgs are a quadlet's inputs.
type QuadletArgs struct {
	User         string            `pulumi:"user" provider:"replaceOnChanges"`
	Name         string            `pulumi:"name" provider:"replaceOnChanges"`
	Content      string            `pulumi:"content"`
	State        string            `pulumi:"state,optional"`
	SocketFolder string            `pulumi:"socketFolder,optional"`
	Container    map[string]string `pulumi:"container,optional"`
	Overrides    []string          `pulumi:"overrides,optional"`
	RestartOn    map[string]string `pulumi:"restartOn,optional"`
	Readiness    *Readiness        `pulumi:"readiness,optional"`
	Adopt        bool              `pulumi:"adopt,optional"`
}

// QuadletState is what is known of a quadlet on the host.
type QuadletState struct {
	QuadletArgs
	Recorded
	Restarts *int `pulumi:"restarts,optional"`
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (q *Quadlet) Annotate(a infer.Annotator) {
	a.SetToken("index", "Quadlet")
	a.Describe(q, "A container as a Podman quadlet (podman-systemd.unit(5)) of a user without privileges: its file, the service that the user's manager makes of it, and the container that really runs. "+
		"With `readiness` it counts as deployed only when its server has really answered.")
}

// Annotate describes the inputs in the schema.
func (a *QuadletArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.User, "The user whose manager runs it, a SystemUser with `containers`.")
	an.Describe(&a.Name, "Name of the quadlet, of its service and of its container.")
	an.Describe(&a.Content, "Text of the .container file. Whitespace at the ends of lines and of the text doesn't count as a difference.")
	an.Describe(&a.State, "`running` or `stopped`.")
	an.SetDefault(&a.State, stateRunning)
	an.Describe(&a.SocketFolder, "A folder in /run/llmhost that is made at every boot for the user and its group, for the socket of the server in the container.")
	an.SetDefault(&a.SocketFolder, "")
	an.Describe(&a.Container, "What the running container has to be, by property: `image`, `user`, `network`, `ports`, `mounts`, `readOnly`, `privileged`, `health` and `oomKilled` as Podman says it, and `capabilities`, `noNewPrivileges`, `seccomp`, `memory`, `swap`, `tasks` and `cpu` as the kernel says it of its process. What isn't named isn't compared.")
	an.Describe(&a.Overrides, "Always empty: files that change, replace or mask the quadlet or its service. It is an input so that they show as drift; an update removes them.")
	an.Describe(&a.RestartOn, "Digests of what the container uses, by any name. A change restarts it.")
	an.Describe(&a.Readiness, "How to ask the server in the container whether it works.")
	describeAdopt(an, &a.Adopt)
}

// Annotate describes the outputs in the schema.
func (s *QuadletState) Annotate(an infer.Annotator) {
	an.Describe(&s.Restarts, "How often the user's manager has started it again by itself since it was last started by hand or by llmhost.")
}

// id is USER/NAME, as the agent takes it apart again.
func (a *QuadletArgs) id() string { return path.Join(a.User, a.Name) }

var quadletName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Check validates the inputs.
func (*Quadlet) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[QuadletArgs], error) {
	return check(ctx, req, func(c *checks, in *QuadletArgs) {
		c.account("user", in.User)
		if c.known("user") && in.User == "root" {
			c.fail("user", "must not be root: its containers would be run with the host's privileges")
		}
		if c.known("name") && !quadletName.MatchString(in.Name) {
			c.fail("name", "must be of a-z, 0-9 and -, 63 characters at most, not %q", in.Name)
		}
		c.unitText("content", "content", in.Content)
		if c.known("content") && c.known("name") {
			c.quadlet(in)
		}
		c.oneOf("state", in.State, stateRunning, stateStopped)
		if c.known("socketFolder") && in.SocketFolder != "" && !quadletName.MatchString(in.SocketFolder) {
			c.fail("socketFolder", "must be of a-z, 0-9 and -, 63 characters at most, not %q", in.SocketFolder)
		}
		if c.known("overrides") && len(in.Overrides) > 0 {
			c.fail("overrides", "must be empty: it only shows what overrules the quadlet on the host")
		}
		if c.known("readiness") && in.Readiness != nil {
			c.readiness(in.Readiness)
		}
	})
}

// quadlet demands the container's name, by which it is looked up.
func (c *checks) quadlet(in *QuadletArgs) {
	sections, err := unit.DeserializeSections(strings.NewReader(in.Content))
	if err != nil {
		return // a fault of its own
	}
	for _, s := range sections {
		if s.Section != "Container" {
			continue
		}
		for _, e := range s.Entries {
			if e.Name == "ContainerName" && e.Value == in.Name {
				return
			}
		}
	}
	c.fail("content", "must have ContainerName=%s in its section [Container]", in.Name)
}

// Create installs the quadlet, starts it, and waits until its server answers.
func (q *Quadlet) Create(ctx context.Context, req infer.CreateRequest[QuadletArgs]) (infer.CreateResponse[QuadletState], error) {
	if req.DryRun {
		return infer.CreateResponse[QuadletState]{Output: QuadletState{QuadletArgs: req.Inputs, Recorded: pending()}}, nil
	}
	state, err := q.put(ctx, req.Inputs, nil, false)
	if err != nil && !installed(err) {
		return infer.CreateResponse[QuadletState]{}, err
	}
	return infer.CreateResponse[QuadletState]{ID: req.Inputs.id(), Output: state}, err
}

// Update installs the quadlet's new text and brings it to the declared state. A container that
// isn't as declared is made anew.
func (q *Quadlet) Update(ctx context.Context, req infer.UpdateRequest[QuadletArgs, QuadletState]) (infer.UpdateResponse[QuadletState], error) {
	if req.DryRun {
		return infer.UpdateResponse[QuadletState]{Output: QuadletState{QuadletArgs: req.Inputs, Recorded: req.State.Recorded}}, nil
	}
	restart := !maps.Equal(req.State.RestartOn, req.Inputs.RestartOn) || !maps.Equal(req.State.Container, req.Inputs.Container) ||
		req.State.State == stateUnresponsive
	state, err := q.put(ctx, req.Inputs, req.State.toUpdate(), restart)
	if err != nil && !installed(err) {
		return infer.UpdateResponse[QuadletState]{}, err
	}
	return infer.UpdateResponse[QuadletState]{Output: state}, err
}

// put installs the quadlet and waits until its server answers. What is installed and doesn't work,
// or runs otherwise than declared, is kept with an infer.ResourceInitFailedError.
func (*Quadlet) put(ctx context.Context, in QuadletArgs, generation *string, restart bool) (QuadletState, error) {
	h, err := connectToChange(ctx)
	if err != nil {
		return QuadletState{}, err
	}
	c, err := claim(ctx, in.id(), generation, in.Adopt)
	if err != nil {
		return QuadletState{}, err
	}
	progressf(ctx, "installing %s for %s", in.Name, in.User)
	resp, err := h.Agent().PutQuadlet(ctx, &agentpb.PutQuadletRequest{
		Claim: c, Content: in.Content, Running: in.State == stateRunning, Restart: restart, SocketFolder: in.SocketFolder,
	})
	state := QuadletState{QuadletArgs: in}
	if err != nil {
		if g := installedGeneration(err); g != nil {
			state.Generation = g
			return state.halfway("failed", startFailure(err)...)
		}
		return QuadletState{}, err
	}
	state.Recorded = recorded(resp.GetGeneration())
	if in.State != stateRunning {
		return state, nil
	}
	if in.Readiness != nil {
		if reasons := awaitQuadlet(ctx, h, in); len(reasons) > 0 {
			return state.halfway(stateNotReady, reasons...)
		}
	}
	seen, err := h.Agent().ObserveQuadlet(ctx, &agentpb.ObserveQuadletRequest{Id: in.id()})
	if err != nil {
		return state.halfway(stateNotReady, fmt.Sprintf("%s was installed, and what runs isn't known: %v", in.Name, err))
	}
	if is := quadletState(seen); is != stateRunning {
		return state.halfway(is, append([]string{fmt.Sprintf("%s was installed and is %s (result: %s)", in.Name, is, seen.GetResult())}, seen.GetJournal()...)...)
	}
	var differs []string
	for _, property := range slices.Sorted(maps.Keys(in.Container)) {
		if want, is := in.Container[property], seen.GetContainer()[property]; is != want {
			differs = append(differs, fmt.Sprintf("%s runs, and its %s is %q and not %q", in.Name, property, is, want))
		}
	}
	if len(differs) > 0 {
		state.Container = observedContainer(in.Container, seen.GetContainer())
		return state, infer.ResourceInitFailedError{Reasons: differs}
	}
	return state, nil
}

// halfway is the state of a quadlet that is installed and doesn't work, with the reasons.
func (s QuadletState) halfway(state string, reasons ...string) (QuadletState, error) {
	s.State = state
	return s, infer.ResourceInitFailedError{Reasons: reasons}
}

// awaitQuadlet shows the server's progress until it has answered, and returns why it hasn't.
func awaitQuadlet(ctx context.Context, h Host, in QuadletArgs) []string {
	events, err := h.Agent().AwaitQuadlet(ctx, &agentpb.AwaitQuadletRequest{
		Id: in.id(), Readiness: in.Readiness.proto(in.Readiness.TimeoutSeconds),
	})
	for err == nil {
		var event *agentpb.ReadyEvent
		event, err = events.Recv()
		switch {
		case errors.Is(err, io.EOF):
			err = errors.New("the agent stopped watching it without a result")
		case err != nil:
		case event.GetReady():
			progressf(ctx, "%s: its server has answered", in.Name)
			return nil
		case event.GetDone():
			return event.GetReasons()
		case event.GetProgress() != "":
			progressf(ctx, "%s: %s", in.Name, event.GetProgress())
		}
	}
	return []string{fmt.Sprintf("%s was installed, and whether its server works isn't known: %v", in.Name, err)}
}

// Read observes the quadlet, its container and the server in it.
func (*Quadlet) Read(ctx context.Context, req infer.ReadRequest[QuadletArgs, QuadletState]) (infer.ReadResponse[QuadletArgs, QuadletState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[QuadletArgs, QuadletState]{}, err
	}
	ask := &agentpb.ObserveQuadletRequest{Id: req.ID}
	if r := req.Inputs.Readiness; r != nil && req.Inputs.State != stateStopped {
		ask.Readiness = r.proto(min(r.TimeoutSeconds, readAnswerSeconds))
	}
	seen, err := h.Agent().ObserveQuadlet(ctx, ask)
	if err != nil {
		return infer.ReadResponse[QuadletArgs, QuadletState]{}, err
	}
	if !seen.GetExists() {
		return infer.ReadResponse[QuadletArgs, QuadletState]{}, nil
	}
	in := req.Inputs
	in.User, in.Name = path.Split(req.ID)
	in.User = strings.TrimSuffix(in.User, "/")
	in.Content = observedUnitText(in.Content, seen.GetContent())
	in.State = quadletState(seen)
	in.SocketFolder = seen.GetSocketFolder()
	in.Overrides = sorted(seen.GetOverrides())
	if len(seen.GetContainer()) > 0 { // of what doesn't run the state says so
		in.Container = observedContainer(in.Container, seen.GetContainer())
	}
	restarts := int(seen.GetRestarts())
	state := QuadletState{QuadletArgs: in, Recorded: observedRecord(ctx, req.State.Recorded, seen.GetOwned()), Restarts: &restarts}
	return infer.ReadResponse[QuadletArgs, QuadletState]{ID: req.ID, Inputs: in, State: state}, nil
}

// quadletState puts the service's state into the words of the input.
func quadletState(seen *agentpb.QuadletState) string {
	return observedState(stateRunning, &agentpb.UnitState{
		ActiveState: seen.GetActiveState(), SubState: seen.GetSubState(), Asked: seen.GetAsked(), Answered: seen.GetAnswered(),
	})
}

// observedContainer is what the container is, as far as it is declared. Of an import nothing is.
func observedContainer(declared, seen map[string]string) map[string]string {
	if len(declared) == 0 {
		return declared
	}
	is := map[string]string{}
	for property := range declared {
		is[property] = seen[property]
	}
	return is
}

// Delete stops the container and removes the quadlet, if this resource still owns it.
func (*Quadlet) Delete(ctx context.Context, req infer.DeleteRequest[QuadletState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
