package cli

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/engine"
	"github.com/llmhost/llmhost/internal/version"
)

func newVersionCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the versions of llmhost and of the engine in it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := struct {
				Llmhost string `json:"llmhost"`
				Pulumi  string `json:"pulumi"`
				Go      string `json:"go"`
			}{version.Version, engine.PulumiVersion(), runtime.Version()}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "llmhost %s (Pulumi engine %s, %s)\n", v.Llmhost, v.Pulumi, v.Go)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}
