package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/pkg/v3/backend"
	"github.com/pulumi/pulumi/pkg/v3/backend/display"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// A killed process leaves operations pending in the state. Pulumi warns about them, keeps
// pending creates for ever, and would orphan them with a destroy; its `refresh
// --import-pending-creates` (3.250) renames them and then drops them. Here IDs are known
// beforehand (Config.PendingID), so the host itself is asked:
//
//  1. Each resource that was being created is put into the state as if it had been, its
//     operation still pending.
//  2. A refresh of these resources, and of those that were being updated or deleted, reads what
//     is really there. One that the host does not have leaves the state again.
//  3. Only then are the pending operations dropped, so a failure in between (say, an unreachable
//     host) or another kill starts this over.

// healPending resolves the operations that a killed process left pending in a stack's state.
func (b *stackBackend) healPending(ctx context.Context, s backend.Stack, op backend.UpdateOperation) error {
	state, deployment, err := b.exported(ctx, s)
	if err != nil {
		return err
	}
	if len(state.PendingOperations) == 0 {
		return nil
	}
	b.engine.logf("an earlier run of stack %s was killed in the middle of %s: finding out what it had done",
		s.Ref().Name(), plural(len(state.PendingOperations), "operation"))
	healed := slices.Clone(state.PendingOperations)
	targets := b.assume(state)
	if len(targets) > 0 {
		if err := b.imported(ctx, s, deployment, state); err != nil {
			return err
		}
		if err := b.reread(ctx, s, op, targets); err != nil {
			return err
		}
		if state, deployment, err = b.exported(ctx, s); err != nil {
			return err
		}
	}
	state.PendingOperations = slices.DeleteFunc(state.PendingOperations, func(o apitype.OperationV2) bool {
		return slices.ContainsFunc(healed, func(h apitype.OperationV2) bool {
			return h.Type == o.Type && h.Resource.URN == o.Resource.URN
		})
	})
	if err := b.imported(ctx, s, deployment, state); err != nil {
		return err
	}
	for _, o := range healed {
		b.engine.logf("  %s", outcome(state, o))
	}
	return nil
}

// assume puts resources that were being created into the state and returns what is to be read.
func (b *stackBackend) assume(state *apitype.DeploymentV3) []string {
	var targets []string
	for _, o := range state.PendingOperations {
		switch o.Type {
		case apitype.OperationTypeCreating:
			if b.assumeCreated(state, o.Resource) {
				targets = append(targets, string(o.Resource.URN))
			}
		case apitype.OperationTypeUpdating, apitype.OperationTypeDeleting:
			if o.Resource.Custom && indexOf(state.Resources, o.Resource.URN) >= 0 {
				targets = append(targets, string(o.Resource.URN))
			}
		default:
			// Nothing was changed, and the next run does it again.
		}
	}
	slices.Sort(targets)
	return slices.Compact(targets)
}

// assumeCreated gives a resource that was being created its place in the state. It returns false
// for one that leaves nothing on a host, such as a component or a provider.
func (b *stackBackend) assumeCreated(state *apitype.DeploymentV3, r apitype.ResourceV3) bool {
	if !r.Custom || b.engine.config.PendingID == nil {
		return false
	}
	id, ok := b.engine.config.PendingID(string(r.Type), resource.NewPropertyMapFromMap(r.Inputs))
	if !ok {
		return false
	}
	r.ID = resource.ID(id)
	i := indexOf(state.Resources, r.URN)
	switch {
	case i < 0:
		// Whatever it depends on is in the state, and nothing depends on it yet.
		state.Resources = append(state.Resources, r)
	case state.Resources[i].PendingReplacement:
		// Its predecessor was deleted first.
		state.Resources[i] = r
	case state.Resources[i].ID != r.ID:
		// Its predecessor would have been deleted afterwards: that is still to be done.
		old := state.Resources[i]
		old.Delete = true
		state.Resources[i] = old
		state.Resources = slices.Insert(state.Resources, i, r)
	}
	return true
}

// indexOf finds the live resource with a URN.
func indexOf(resources []apitype.ResourceV3, urn resource.URN) int {
	return slices.IndexFunc(resources, func(r apitype.ResourceV3) bool { return r.URN == urn && !r.Delete })
}

// reread refreshes the targets. It shows nothing but the errors.
func (b *stackBackend) reread(ctx context.Context, s backend.Stack, op backend.UpdateOperation, targets []string) error {
	private, err := os.MkdirTemp("", "llmhost-") // 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(private)
	events := filepath.Join(private, "events")
	op.Opts.AutoApprove, op.Opts.SkipPreview, op.Opts.PreviewOnly = true, true, false
	// Of all displays only the JSON summary leaves standard output alone; it is thrown away.
	op.Opts.Display = display.Options{SummaryJSON: true, EventLogPath: events, Color: colors.Never, Stdout: io.Discard, Stderr: io.Discard}
	o := &op.Opts.Engine
	o.Targets, o.Excludes, o.ReplaceTargets = deploy.NewUrnTargets(targets), deploy.UrnTargets{}, deploy.UrnTargets{}
	o.TargetDependents, o.ExcludeDependents = false, false
	o.Plan, o.GeneratePlan = nil, false
	o.RefreshProgram, o.DestroyProgram = o.RefreshProgram || o.DestroyProgram, false
	if _, err := b.Backend.Refresh(ctx, inner(s), b.inProcess(op)); err != nil {
		if reasons := errorsIn(events); reasons != "" {
			err = errors.New(reasons)
		}
		return fmt.Errorf("could not find out what a killed run of stack %s had done, so nothing was changed: %w", s.Ref().Name(), err)
	}
	return nil
}

// errorsIn collects the error messages of an event log, each once.
func errorsIn(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	var seen observation
	for dec := json.NewDecoder(f); ; {
		var event apitype.EngineEvent
		if err := dec.Decode(&event); err != nil {
			return strings.Join(seen.errors, "\n")
		}
		if d := event.DiagnosticEvent; d != nil && d.Severity == string(diag.Error) {
			seen.addError(colors.Never.Colorize(d.Message))
		}
	}
}

func (b *stackBackend) exported(ctx context.Context, s backend.Stack) (*apitype.DeploymentV3, *apitype.UntypedDeployment, error) {
	d, err := b.Backend.ExportDeployment(ctx, inner(s))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the state of stack %s: %w", s.Ref().Name(), err)
	}
	state := new(apitype.DeploymentV3)
	if len(d.Deployment) > 0 {
		if err := json.Unmarshal(d.Deployment, state); err != nil {
			return nil, nil, fmt.Errorf("reading the state of stack %s: %w", s.Ref().Name(), err)
		}
	}
	return state, d, nil
}

func (b *stackBackend) imported(ctx context.Context, s backend.Stack, d *apitype.UntypedDeployment, state *apitype.DeploymentV3) error {
	raw, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("writing the state of stack %s: %w", s.Ref().Name(), err)
	}
	d.Deployment = raw
	if err := b.Backend.ImportDeployment(ctx, inner(s), d); err != nil {
		return fmt.Errorf("writing the state of stack %s: %w", s.Ref().Name(), err)
	}
	return nil
}

// outcome says in words what became of a pending operation.
func outcome(state *apitype.DeploymentV3, o apitype.OperationV2) string {
	name := string(o.Resource.Type)
	name = name[strings.LastIndexByte(name, ':')+1:] + " " + o.Resource.URN.Name()
	there := indexOf(state.Resources, o.Resource.URN) >= 0
	switch {
	case !o.Resource.Custom:
		return name + ": nothing to find out, it has nothing on the host"
	case o.Type == apitype.OperationTypeCreating && there:
		return name + ": was being created, found on the host"
	case o.Type == apitype.OperationTypeCreating:
		return name + ": was being created, not on the host"
	case o.Type == apitype.OperationTypeDeleting && !there:
		return name + ": was being deleted, gone from the host"
	case o.Type == apitype.OperationTypeDeleting:
		return name + ": was being deleted, still on the host"
	default:
		return name + ": was " + string(o.Type) + ", read again"
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
