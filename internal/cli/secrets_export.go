package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/llmhost/llmhost/internal/secrets"
)

func newSecretsExportCmd() *cobra.Command {
	var stack, folder, format string
	var show bool
	cmd := &cobra.Command{
		Use:   "export [NAME…]",
		Short: "Write the current keys to a folder, for clients",
		Long: "Write the current key of each secret (or of those that are named) to a folder of its own: as a\n" +
			"file for each, or as one .env file, all of mode 0600, with an .env.example that holds the names\n" +
			"alone. The folder gets a .gitignore, and one whose files git would track all the same is refused.\n\n" +
			"With -o - an .env file is written to standard output: to a pipe or a file, and to a terminal only\n" +
			"with --show.",
		Example: "  llmhost secrets export -s desktop -o ~/keys/desktop\n  llmhost secrets export family -s desktop --format env -o - | ssh client 'cat > app.env'",
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := openKeyring(cmd, stack, false)
			if err != nil {
				return err
			}
			all, err := k.export(cmd, args)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if folder == "-" {
				if isTerminal(out) && !show {
					return errors.New("standard output is a terminal, which keeps what it shows: write to a pipe or a folder, or say --show")
				}
				_, err := io.WriteString(out, secrets.EnvText(all, true))
				return err
			}
			files, err := secrets.Export(cmd.Context(), folder, format, all)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(out, "%s in %s, readable by you alone and ignored by git\n", countFiles(len(files)), folder)
			return err
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host")
	cmd.Flags().StringVarP(&folder, "output", "o", "", "the folder, new or of an earlier export; - for standard output (required)")
	cmd.Flags().StringVar(&format, "format", secrets.FormatFiles, "files: one for each secret; env: one .env file")
	cmd.Flags().BoolVar(&show, "show", false, "with -o -, also show the keys on a terminal")
	if err := cmd.MarkFlagRequired("output"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// export gathers the current keys of all secrets, or of those that are named.
func (k *keyring) export(cmd *cobra.Command, names []string) ([]secrets.Exported, error) {
	if len(names) == 0 {
		for _, s := range k.host.Secrets {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s declares no secret", k.host.File)
	}
	var all []secrets.Exported
	for _, name := range names {
		s, err := k.declared(name)
		if err != nil {
			return nil, err
		}
		secret, err := k.stored(cmd.Context(), s)
		if err != nil {
			return nil, fmt.Errorf("secret %q: %w", name, err)
		}
		all = append(all, secrets.Exported{Name: name, Kind: s.Kind, Value: secret.Current().Value})
	}
	return all, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
