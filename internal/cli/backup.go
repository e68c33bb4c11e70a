package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

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
			secret, err := readPassphrase(cmd, passphraseFile, true)
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
			secret, err := readPassphrase(cmd, passphraseFile, false)
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

func locate() (engine.Environment, error) {
	root, err := projectRoot()
	if err != nil {
		return engine.Environment{}, err
	}
	return engine.Locate(root)
}

// readPassphrase takes the backup's passphrase from a file (without the newline at its end), or
// asks for it on the terminal: twice if a mistake would only be noticed when it is too late.
func readPassphrase(cmd *cobra.Command, file string, twice bool) (string, error) {
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("reading the passphrase: %w", err)
		}
		return checkPassphrase(bytes.TrimRight(raw, "\r\n"))
	}
	terminal, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return "", errors.New("there is no terminal to ask for the passphrase: give --passphrase-file FILE")
	}
	first, err := ask(terminal, cmd.ErrOrStderr(), "Passphrase of the backup: ")
	if err != nil {
		return "", err
	}
	if twice {
		second, err := ask(terminal, cmd.ErrOrStderr(), "The same again: ")
		if err != nil {
			return "", err
		}
		if !bytes.Equal(first, second) {
			return "", errors.New("the two passphrases differ")
		}
	}
	return checkPassphrase(first)
}

func checkPassphrase(p []byte) (string, error) {
	if len(p) == 0 {
		return "", errors.New("the passphrase is empty")
	}
	return string(p), nil
}

func ask(terminal *os.File, w io.Writer, prompt string) ([]byte, error) {
	fmt.Fprint(w, prompt)
	answer, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(w)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	return answer, nil
}
