package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newModelCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "model",
		Short: "Bring models to a host, and keep them right",
		Long: "Models of 5 to 200 GB: they reach a host verified, go on where an interrupted push stopped, and are\n" +
			"watched afterwards. A host file declares them, each with its SHA-256.",
		Args:                       aVerb,
		SuggestionsMinimumDistance: 2,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newModelAddCmd(), newModelListCmd(), newModelPushCmd(), newModelVerifyCmd(), newModelSignCmd(), newModelRemoveCmd(), newModelCollectCmd(),
		newModelBackupCmd(), newModelRestoreCmd())
	return cmd
}

// aVerb refuses what is no verb of a command that has verbs.
func aVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "."
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf(". Did you mean %s?", near[0])
	}
	return fmt.Errorf("unknown command %q for %q%s See `%s --help`", args[0], cmd.CommandPath(), hint, cmd.CommandPath())
}
