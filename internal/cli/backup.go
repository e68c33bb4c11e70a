package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/engine"
)

func newBackupCmd() *cobra.Command {
	var output, passphraseFile string
	cmd := &cobra.Command{
		Use:   "backup -o FILE",
		Short: "Write state and key into one encrypted file",
		Long: "Write the project's state and the key of its secrets into one file, encrypted with a passphrase\n" +
			"(age format). With it and the project's files, another machine can go on where this one was lost:\n" +
			"see `llmhost restore`.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			environment, err := locate()
			if err != nil {
				return err
			}
			secret, err := readPassphrase(cmd, passphraseFile, "the backup", true)
			if err != nil {
				return err
			}
			if err := environment.Backup(output, secret); err != nil {
				return fmt.Errorf("backup: %w", err)
			}
			holds := "and its key"
			if environment.KeyFile == "" {
				holds = "and not the passphrase of its secrets, which you have set yourself: keep that, too"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "wrote %s: the state in %s %s\n", output, environment.StateDir, holds)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "the file to write")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "read the passphrase from this file instead of asking for it")
	_ = cmd.MarkFlagRequired("output") // the flag exists
	return cmd
}

func locate() (engine.Environment, error) {
	root, err := projectRoot()
	if err != nil {
		return engine.Environment{}, err
	}
	return engine.Locate(root)
}
