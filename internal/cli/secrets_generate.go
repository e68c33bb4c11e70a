package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/secrets"
)

func newSecretsGenerateCmd() *cobra.Command {
	var stack string
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make the keys that a host file declares and that are missing",
		Long: "Make a key for every secret block of the host file that has none: 256 bits of the system's random\n" +
			"source. It is kept encrypted in the stack's settings, Pulumi.STACK.yaml, which can be committed,\n" +
			"and isn't printed. Keys that are there already stay as they are.\n\n" +
			"The exit code is 0 if every secret has a key afterwards, and 1 otherwise.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			k, err := openKeyring(cmd, stack, true)
			if err != nil {
				return err
			}
			if len(k.host.Secrets) == 0 {
				return fmt.Errorf("%s declares no secret: add a block secret \"NAME\" { … }", k.host.File)
			}
			made := map[string]secrets.Secret{}
			var text []string
			for i := range k.host.Secrets {
				s := &k.host.Secrets[i]
				_, err := k.stored(ctx, s)
				switch {
				case err == nil:
					continue
				case !errors.Is(err, errNoKey):
					return fmt.Errorf("%s: secret %q can't be used: %w; `llmhost secrets rotate %s --now -s %s` makes another", s.Range, s.Name, err, s.Name, k.stack)
				}
				made[s.Name] = secrets.Generate(s.Kind, time.Now())
				text = append(text, fmt.Sprintf("%s: made a key (%s, %s)", s.Name, s.Kind, made[s.Name].Current().ID))
			}
			if len(made) == 0 {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "Every secret has a key already.")
				return err
			}
			if err := k.store(ctx, made); err != nil {
				return err
			}
			for _, line := range text {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), line); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "They are in %s, encrypted. `llmhost up -s %s` delivers them.\n", fromHere(k.settings.File()), k.stack)
			return err
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host")
	return cmd
}
