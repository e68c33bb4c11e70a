package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/pulumi/pulumi/pkg/v3/backend"
	sdkdisplay "github.com/pulumi/pulumi/pkg/v3/display"
	pulumiengine "github.com/pulumi/pulumi/pkg/v3/engine"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/providers"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// stackBackend is a Pulumi backend whose operations run with llmhost's plugin host, and which
// heals what a killed process left before it changes anything.
type stackBackend struct {
	backend.Backend
	engine *Engine
	locks  lockDir
	host   pulumiengine.HostFactory
}

// wrapped is a stack of this backend. A stack knows its backend, so it has to be wrapped too.
type wrapped struct {
	backend.Stack
	b *stackBackend
}

func (s wrapped) Backend() backend.Backend { return s.b }

func (b *stackBackend) wrap(s backend.Stack, err error) (backend.Stack, error) {
	if s == nil || err != nil {
		return nil, err
	}
	return wrapped{s, b}, nil
}

// inner is the stack as the backend below knows it.
func inner(s backend.Stack) backend.Stack {
	if w, ok := s.(wrapped); ok {
		return w.Stack
	}
	return s
}

func (b *stackBackend) GetStack(ctx context.Context, ref backend.StackReference) (backend.Stack, error) {
	return b.wrap(b.Backend.GetStack(ctx, ref))
}

func (b *stackBackend) CreateStack(ctx context.Context, ref backend.StackReference, root string,
	state *apitype.UntypedDeployment, o *backend.CreateStackOptions,
) (backend.Stack, error) {
	if err := b.unlock(ref); err != nil {
		return nil, err
	}
	return b.wrap(b.Backend.CreateStack(ctx, ref, root, state, o))
}

func (b *stackBackend) RemoveStack(ctx context.Context, s backend.Stack, force, removeBackups bool) (bool, error) {
	if err := b.unlock(s.Ref()); err != nil {
		return false, err
	}
	return b.Backend.RemoveStack(ctx, inner(s), force, removeBackups)
}

func (b *stackBackend) RenameStack(ctx context.Context, s backend.Stack, name tokens.QName) (backend.StackReference, error) {
	if err := b.unlock(s.Ref()); err != nil {
		return nil, err
	}
	state, _, err := b.exported(ctx, s)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(state.Resources, func(r apitype.ResourceV3) bool { return r.Custom && !providers.IsProviderType(r.Type) }) {
		return nil, fmt.Errorf("stack %s can't be renamed: what it has put on the host is recorded there under this name. "+
			"Destroy it first, and deploy hosts/%s.hcl as a new stack", s.Ref().Name(), name)
	}
	return b.Backend.RenameStack(ctx, inner(s), name)
}

func (b *stackBackend) ImportDeployment(ctx context.Context, s backend.Stack, d *apitype.UntypedDeployment) error {
	if err := b.unlock(s.Ref()); err != nil {
		return err
	}
	return b.Backend.ImportDeployment(ctx, inner(s), d)
}

func (b *stackBackend) UpdateStackTags(ctx context.Context, s backend.Stack, tags map[apitype.StackTagName]string) error {
	return b.Backend.UpdateStackTags(ctx, inner(s), tags)
}

func (b *stackBackend) Preview(ctx context.Context, s backend.Stack, op backend.UpdateOperation, events chan<- pulumiengine.Event,
) (*deploy.Plan, sdkdisplay.ResourceChanges, error) {
	return b.Backend.Preview(ctx, inner(s), b.inProcess(op), events)
}

func (b *stackBackend) Update(ctx context.Context, s backend.Stack, op backend.UpdateOperation, events chan<- pulumiengine.Event,
) (sdkdisplay.ResourceChanges, error) {
	if err := b.prepare(ctx, s, op); err != nil {
		return nil, err
	}
	return b.Backend.Update(ctx, inner(s), b.inProcess(op), events)
}

func (b *stackBackend) Refresh(ctx context.Context, s backend.Stack, op backend.UpdateOperation) (sdkdisplay.ResourceChanges, error) {
	if err := b.prepare(ctx, s, op); err != nil {
		return nil, err
	}
	return b.Backend.Refresh(ctx, inner(s), b.inProcess(op))
}

func (b *stackBackend) Destroy(ctx context.Context, s backend.Stack, op backend.UpdateOperation) (sdkdisplay.ResourceChanges, error) {
	if err := b.prepare(ctx, s, op); err != nil {
		return nil, err
	}
	return b.Backend.Destroy(ctx, inner(s), b.inProcess(op))
}

func (b *stackBackend) Import(ctx context.Context, s backend.Stack, op backend.UpdateOperation, imports []deploy.Import,
) (sdkdisplay.ResourceChanges, error) {
	if err := b.prepare(ctx, s, op); err != nil {
		return nil, err
	}
	return b.Backend.Import(ctx, inner(s), b.inProcess(op), imports)
}

// CancelCurrentUpdate releases the locks on a stack, and says so if there are none.
func (b *stackBackend) CancelCurrentUpdate(ctx context.Context, ref backend.StackReference) error {
	if b.locks != "" {
		files, err := b.locks.of(ref)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("nothing is changing stack %s, so there is nothing to cancel", ref.Name())
		}
	}
	return b.Backend.CancelCurrentUpdate(ctx, ref)
}

// inProcess makes an operation run in this process: Pulumi.yaml's main and plugin folders are
// for the ordinary CLI, and there is nothing to install.
func (b *stackBackend) inProcess(op backend.UpdateOperation) backend.UpdateOperation {
	project := *op.Proj
	project.Main, project.Plugins, project.Packages = "", nil, nil
	op.Proj = &project
	op.Opts.Engine.HostFactory, op.Opts.Engine.SkipPluginPreInstall = b.host, true
	if b.locks != "" {
		op.Opts.Display.SuppressPermalink = true // a link to a file in the project helps nobody
	}
	return op
}

// prepare heals the stack before an operation that writes. One that only previews writes nothing.
func (b *stackBackend) prepare(ctx context.Context, s backend.Stack, op backend.UpdateOperation) error {
	if op.Opts.PreviewOnly {
		return nil
	}
	if err := b.unlock(s.Ref()); err != nil {
		return err
	}
	return b.healPending(ctx, s, op)
}
