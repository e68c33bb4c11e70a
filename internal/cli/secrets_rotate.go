package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/secrets"
)

func newSecretsRotateCmd() *cobra.Command {
	var stack string
	var atOnce bool
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Replace a key, and accept the old one for a while",
		Long: "Make a new key for a secret. The next `llmhost up` delivers it, and the old one is accepted beside\n" +
			"it until the secret's overlap is over; the first `llmhost up` after that takes it off the host.\n" +
			"With --now, for a key that has leaked, no older key is accepted after the next `llmhost up`.\n\n" +
			"The exit code is 0 if there is a new key, and 1 otherwise.",
		Example: "  llmhost secrets rotate family -s desktop && llmhost up -s desktop",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("which secret? `llmhost secrets rotate NAME`; `llmhost secrets list` shows them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			k, err := openKeyring(cmd, stack, false)
			if err != nil {
				return err
			}
			s, err := k.declared(args[0])
			if err != nil {
				return err
			}
			old, err := k.stored(ctx, s)
			overlap := s.Overlap
			if atOnce {
				overlap = 0
			}
			now := time.Now()
			next := secrets.Generate(s.Kind, now)
			switch {
			case err == nil:
				next = old.Rotate(now, overlap)
			case errors.Is(err, errNoKey):
				return fmt.Errorf("secret %q has no key yet: `llmhost secrets generate -s %s` makes it", s.Name, k.stack)
			case !atOnce:
				return fmt.Errorf("secret %q can't be used, and so not be accepted for a while: %w; --now replaces it at once", s.Name, err)
			}
			if err := k.store(ctx, map[string]secrets.Secret{s.Name: next}); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s: made a new key (%s)\n", s.Name, next.Current().ID)
			for _, key := range next.Keys[1:] {
				fmt.Fprintf(out, "%s: the key %s is accepted until %s\n", s.Name, key.ID, key.Expires.Format(time.RFC3339))
			}
			_, err = fmt.Fprintf(out, "`llmhost up -s %s` delivers it.\n", k.stack)
			return err
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host")
	cmd.Flags().BoolVar(&atOnce, "now", false, "accept no older key any more")
	return cmd
}
