package engine

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/pulumi/pulumi/pkg/v3/backend"
	"github.com/pulumi/pulumi/pkg/v3/backend/backenderr"
	cmdbackend "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/backend"
	cmdstack "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/stack"
	pkgworkspace "github.com/pulumi/pulumi/pkg/v3/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/cmdutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Config says what the engine runs.
type Config struct {
	// Program is run for every preview, update, and (unless PULUMI_RUN_PROGRAM is false) refresh and destroy.
	Program pulumi.RunFunc
	// Providers are those that live in this process.
	Providers []Provider
	// PendingID is the ID that a resource of this type with these inputs has once it is created.
	// It is how a killed create is found again. False means that the ID can't be known.
	PendingID func(typeToken string, inputs resource.PropertyMap) (id string, ok bool)
	// Log gets one line for everything that the engine does unasked, such as breaking a dead lock.
	Log io.Writer
}

// Engine is one project's state with a way to change it.
type Engine struct {
	config  Config
	root    string
	project *workspace.Project
	backend *stackBackend
}

// Open opens the state of a project. The environment must be complete (Environment.Apply).
func Open(ctx context.Context, environment Environment, config Config) (*Engine, error) {
	project, err := workspace.LoadProject(filepath.Join(environment.Root, "Pulumi.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the project: %w", err)
	}
	// What Pulumi prints as information ("Created stack") is not for a command's own output.
	sink := diag.DefaultSink(io.Discard, config.Log, diag.FormatOptions{Color: cmdutil.GetGlobalColorization()})
	inner, err := cmdbackend.DefaultLoginManager.Current(ctx, pkgworkspace.Instance, sink, environment.BackendURL, project, false)
	if err != nil {
		return nil, fmt.Errorf("opening the state at %s: %w", environment.BackendURL, err)
	}
	if inner == nil {
		return nil, fmt.Errorf("not logged in to %s; log in with the pulumi CLI, or unset PULUMI_BACKEND_URL to keep the state in the project", environment.BackendURL)
	}
	e := &Engine{config: config, root: environment.Root, project: project}
	e.backend = &stackBackend{Backend: inner, engine: e, locks: lockDirOf(environment.BackendURL), host: hostFactory(config.Program, config.Providers)}
	return e, nil
}

// Use makes this engine the one that the commands of Commands run on.
func (e *Engine) Use() { cmdbackend.BackendInstance = e.backend }

// HasStack reports whether the state has a stack of that name.
func (e *Engine) HasStack(ctx context.Context, name string) (bool, error) {
	s, err := e.find(ctx, name)
	return s != nil, err
}

func (e *Engine) find(ctx context.Context, name string) (backend.Stack, error) {
	ref, err := e.backend.ParseStackReference(name)
	if err != nil {
		return nil, err
	}
	s, err := e.backend.GetStack(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("looking for stack %s: %w", name, err)
	}
	return s, nil
}

// CreateStack adds an empty stack.
func (e *Engine) CreateStack(ctx context.Context, name string) error {
	ref, err := e.backend.ParseStackReference(name)
	if err != nil {
		return err
	}
	sink := diag.DefaultSink(io.Discard, e.config.Log, diag.FormatOptions{Color: colors.Never})
	if _, err := cmdstack.CreateStack(ctx, sink, pkgworkspace.Instance, e.backend, ref, e.root, nil, false, "", false, ""); err != nil {
		return fmt.Errorf("creating stack %s: %w", name, err)
	}
	return nil
}

// Stacks lists the names of the project's stacks.
func (e *Engine) Stacks(ctx context.Context) ([]string, error) {
	project := e.project.Name.String()
	refs, _, err := e.backend.ListStackNames(ctx, backend.ListStackNamesFilter{Project: &project}, nil)
	if err != nil {
		return nil, fmt.Errorf("listing stacks: %w", err)
	}
	names := make([]string, 0, len(refs))
	for _, r := range refs {
		names = append(names, r.Name().String())
	}
	return names, nil
}

// required is find, with an error when there is no such stack.
func (e *Engine) required(ctx context.Context, name string) (backend.Stack, error) {
	s, err := e.find(ctx, name)
	if err == nil && s == nil {
		err = backenderr.StackNotFoundError{StackName: name}
	}
	return s, err
}

func (e *Engine) logf(format string, args ...any) {
	fmt.Fprintf(e.config.Log, format+"\n", args...)
}
