package engine

import (
	"context"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pulumi/pulumi/pkg/v3/backend/state"
	"github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/cancel"
	"github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/cmd"
	"github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/config"
	"github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/operations"
	"github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/stack"
	pulumistate "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/state"
	pkgworkspace "github.com/pulumi/pulumi/pkg/v3/workspace"
)

// Commands of Pulumi that only work with Pulumi Cloud.
var cloudOnly = map[string][]string{
	"config": {"env"},
	"stack":  {"drift", "schedule", "webhook"},
}

// Flags of Pulumi's AI service.
var cloudFlags = []string{"neo", "copilot"}

// Commands makes Pulumi's own commands, with Pulumi's flags, displays and exit codes, less what
// needs Pulumi Cloud. They run on the engine whose Use was called last.
func Commands() []*cobra.Command {
	destroy := operations.NewDestroyCmd()
	destroy.SetOut(rewordingWriter{os.Stdout}) // it only writes advice there
	commands := []*cobra.Command{
		operations.NewPreviewCmd(),
		operations.NewUpCmd(),
		operations.NewRefreshCmd(),
		destroy,
		operations.NewImportCmd(),
		cancel.NewCancelCmd(pkgworkspace.Instance),
		stack.NewStackCmd(),
		config.NewConfigCmd(pkgworkspace.Instance),
		pulumistate.NewStateCmd(),
	}
	for _, c := range commands {
		for _, sub := range c.Commands() {
			if slices.Contains(cloudOnly[c.Name()], sub.Name()) {
				c.RemoveCommand(sub)
			}
		}
		adapt(c)
	}
	return commands
}

// adapt makes the help of a command, and of those below it, speak of llmhost.
func adapt(c *cobra.Command) {
	for _, text := range []*string{&c.Short, &c.Long, &c.Example} {
		*text = wording.Replace(*text)
	}
	for _, flags := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
		for _, name := range cloudFlags {
			if f := flags.Lookup(name); f != nil {
				f.Hidden = true
			}
		}
	}
	for _, sub := range c.Commands() {
		adapt(sub)
	}
}

// ShowError prints an error as Pulumi does and returns its exit code. An error that Pulumi has
// shown already is not printed again.
func ShowError(ctx context.Context, err error, stderr io.Writer) int {
	cmd.DisplayErrorMessage(ctx, reworded{err}, stderr)
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
