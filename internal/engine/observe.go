package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/pkg/v3/backend"
	"github.com/pulumi/pulumi/pkg/v3/backend/secrets"
	cmdconfig "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/config"
	cmdstack "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/stack"
	pulumiengine "github.com/pulumi/pulumi/pkg/v3/engine"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/env"
	"github.com/pulumi/pulumi/sdk/v3/go/common/providers"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/result"

	"github.com/llmhost/llmhost/internal/drift"
)

// observeParallel is how many resources are read at once. Reads share one connection, and most
// of their time is the round trip.
const observeParallel = 16

// Observe reads every resource of a stack on its host and returns what differs from the state.
// Nothing is changed, neither on the host nor in the state. The program runs (unless
// PULUMI_RUN_PROGRAM is false), so that a host is reached as its file says now and not as the
// state remembers. An error means that it could not tell: a stack that has nothing deployed is
// one, since a host as it was left is no news of a host as it should be.
func (e *Engine) Observe(ctx context.Context, stackName string) ([]drift.Finding, error) {
	stack, err := e.required(ctx, stackName)
	if err != nil {
		return nil, err
	}
	sink := diag.DefaultSink(e.config.Log, e.config.Log, diag.FormatOptions{Color: colors.Never})
	loader := cmdstack.NewStackSecretsManagerLoaderFromEnv()
	cfg, manager, err := cmdconfig.GetStackConfiguration(ctx, sink, loader, stack, e.project, "")
	if err != nil {
		return nil, fmt.Errorf("reading the settings of stack %s: %w", stackName, err)
	}
	snapshot, err := stack.Snapshot(ctx, secrets.DefaultProvider)
	if err != nil {
		return nil, fmt.Errorf("reading the state of stack %s: %w", stackName, err)
	}
	if snapshot == nil || len(snapshot.Resources) == 0 {
		return nil, fmt.Errorf("nothing is deployed to it: run `llmhost up -s %s` first", stackName)
	}
	if n := len(snapshot.PendingOperations); n > 0 {
		e.logf("an earlier run of stack %s was killed in the middle of %s, which the report can't know of; `llmhost up -s %s` finds out",
			stackName, plural(n, "operation"), stackName)
	}
	op := e.backend.inProcess(backend.UpdateOperation{Proj: e.project, Root: e.root, SecretsManager: manager})
	op.Opts.Engine.Parallel = observeParallel
	info := pulumiengine.UpdateInfo{Root: op.Root, Project: op.Proj, Target: &deploy.Target{
		Name: stack.Ref().Name(), Organization: "organization", // what the DIY backend calls it, too
		Config: cfg.Config, Decrypter: cfg.Decrypter, Snapshot: snapshot, Tags: stack.Tags(),
	}}
	refresh := pulumiengine.Refresh
	if env.RunProgram.Value() {
		refresh = pulumiengine.RefreshV2
	}
	events := make(chan pulumiengine.Event)
	watched := make(chan observation)
	go func() { watched <- watch(events) }()
	scope := backend.CancellationScopes.NewScope(ctx, events, true)
	_, _, err = refresh(info, &pulumiengine.Context{
		Cancel: scope.Context(), Events: events,
		BackendClient: backend.NewBackendClient(e.backend.Backend, secrets.DefaultProvider),
	}, op.Opts.Engine, true)
	scope.Close()
	close(events)
	seen := <-watched
	if len(seen.errors) > 0 {
		return nil, errors.New(strings.Join(seen.errors, "\n"))
	}
	if result.IsBail(err) || errors.Is(err, context.Canceled) {
		return nil, errors.New("it was interrupted")
	}
	if err != nil {
		return nil, err
	}
	drift.Sort(seen.findings)
	return seen.findings, nil
}

// observation is what the engine's events of a refresh say.
type observation struct {
	findings []drift.Finding
	errors   []string
}

func watch(events <-chan pulumiengine.Event) observation {
	var seen observation
	for event := range events {
		switch payload := event.Payload().(type) {
		case pulumiengine.ResourceOutputsEventPayload:
			seen.findings = append(seen.findings, findings(payload.Metadata)...)
		case pulumiengine.DiagEventPayload:
			if payload.Severity == diag.Error {
				seen.addError(colors.Never.Colorize(payload.Message))
			}
		}
	}
	return seen
}

// addError keeps each message once: when a host can't be reached, every resource says so.
func (o *observation) addError(message string) {
	message = strings.TrimSpace(message)
	for _, known := range o.errors {
		if known == message {
			return
		}
	}
	o.errors = append(o.errors, message)
}

// findings turns one resource's refresh into what differs.
func findings(m pulumiengine.StepEventMetadata) []drift.Finding {
	if m.Old == nil || !m.Old.Custom || m.Old.State == nil || m.Old.State.Delete || providers.IsProviderType(m.Type) {
		return nil
	}
	old := m.Old.State
	r := drift.Resource{URN: string(m.URN), Type: string(m.Type), Name: m.URN.Name(), ID: string(old.ID)}
	switch m.Op {
	case deploy.OpDelete:
		return []drift.Finding{r.Missing()}
	case deploy.OpUpdate:
		want, have := drift.Properties{Inputs: old.Inputs, Outputs: old.Outputs}, drift.Properties{}
		if m.New != nil && m.New.State != nil {
			have = drift.Properties{Inputs: m.New.State.Inputs, Outputs: m.New.State.Outputs}
		}
		paths := make(map[string]bool, len(m.DetailedDiff))
		for path, d := range m.DetailedDiff {
			paths[path] = d.InputDiff
		}
		if len(paths) == 0 {
			for _, key := range m.Diffs {
				paths[string(key)] = true
			}
		}
		return r.Changed(want, have, paths)
	default:
		return nil
	}
}
