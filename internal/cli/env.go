package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func newEnvCmd() *cobra.Command {
	var asJSON bool
	var stack string
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print what the ordinary pulumi CLI needs to work on the same state",
		Long: "Print the environment variables with which the ordinary pulumi CLI works on the same state:\n\n" +
			"    eval \"$(llmhost env)\" && pulumi up -s desktop\n\n" +
			"The pulumi CLI finds the provider plugin in bin/ (see plugins in Pulumi.yaml), so run `make build`\n" +
			"first; it compiles the program with its Go language host, so it needs Go.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := open(cmd, stack)
			if err != nil {
				return err
			}
			if stack != "" && !s.hasHostFile(stack) {
				if err := s.exists(cmd, stack, false); err != nil {
					return err
				}
			}
			vars := s.environment.Exports()
			plugins := filepath.Join(s.environment.Root, "bin")
			if _, err := os.Stat(filepath.Join(plugins, "pulumi-resource-llmhost")); err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), "the provider plugin is not built yet: run `make build` before you use the pulumi CLI")
			}
			vars = append(vars, [2]string{"PATH", plugins + string(os.PathListSeparator) + os.Getenv("PATH")})
			if stack != "" {
				vars = append(vars, [2]string{"PULUMI_STACK", stack})
			}
			if asJSON {
				object := make(map[string]string, len(vars))
				for _, v := range vars {
					object[v[0]] = v[1]
				}
				return json.NewEncoder(cmd.OutOrStdout()).Encode(object)
			}
			for _, v := range vars {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "export %s=%s\n", v[0], quoteShell(v[1])); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "also select this stack (PULUMI_STACK)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as one JSON object")
	return cmd
}

// quoteShell quotes a value for a POSIX shell.
func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
