package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/engine"
)

func newRestoreCmd() *cobra.Command {
	var passphraseFile string
	var force bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put state and key back from a backup",
		Long: "Put the state and the key of a backup back. If this project has a different state or key already,\n" +
			"nothing is done unless --force is given, and then the old ones are kept beside the new.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name the one backup to restore: llmhost restore FILE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			environment, err := locate()
			if err != nil {
				return err
			}
			if info, err := os.Stat(args[0]); err != nil {
				return fmt.Errorf("restore: %w", err)
			} else if info.IsDir() {
				return fmt.Errorf("restore: %s is a folder: name a file that `llmhost backup` wrote", args[0])
			}
			secret, err := readPassphrase(cmd, passphraseFile, "the backup", false)
			if err != nil {
				return err
			}
			kept, err := environment.Restore(args[0], secret, force)
			for _, path := range kept {
				fmt.Fprintf(cmd.ErrOrStderr(), "kept what was there before: %s\n", path)
			}
			if errors.Is(err, engine.ErrDifferent) {
				return fmt.Errorf("restore: %w; --force replaces it and keeps the old one beside it", err)
			}
			if err != nil {
				return fmt.Errorf("restore: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "restored the state in %s\n", environment.StateDir)
			return nil
		},
	}
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "read the passphrase from this file instead of asking for it")
	cmd.Flags().BoolVar(&force, "force", false, "replace a different state or key")
	return cmd
}
