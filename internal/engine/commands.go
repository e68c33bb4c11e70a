package engine

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/pulumi/pulumi/pkg/v3/backend/state"
	"github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/cancel"
	"github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/cmd"
	"github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/config"
	"github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/operations"
	"github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/stack"
	pulumistate "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/state"
	pkgworkspace "github.com/pulumi/pulumi/pkg/v3/workspace"
)

// Commands makes Pulumi's own commands, with Pulumi's flags, displays and exit codes. They run
// on the engine whose Use was called last.
func Commands() []*cobra.Command {
	return []*cobra.Command{
		operations.NewPreviewCmd(),
		operations.NewUpCmd(),
		operations.NewRefreshCmd(),
		operations.NewDestroyCmd(),
		operations.NewImportCmd(),
		cancel.NewCancelCmd(pkgworkspace.Instance),
		stack.NewStackCmd(),
		config.NewConfigCmd(pkgworkspace.Instance),
		pulumistate.NewStateCmd(),
	}
}

// ShowError prints an error of one of these commands as Pulumi does and returns its exit code.
// An error that Pulumi has shown already is not printed again.
func ShowError(ctx context.Context, err error, stderr io.Writer) int {
	cmd.DisplayErrorMessage(ctx, err, stderr)
	return cmd.ExitCodeFor(err)
}

// Selected is the name of the stack that `llmhost stack select` chose, or PULUMI_STACK names;
// empty if there is none.
func (e *Engine) Selected(ctx context.Context) (string, error) {
	s, err := state.CurrentStack(ctx, pkgworkspace.Instance, e.backend)
	if err != nil || s == nil {
		return "", err
	}
	return s.Ref().Name().String(), nil
}
