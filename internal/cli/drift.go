package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/drift"
)

// errDrift ends the command with 2; the report has said everything.
var errDrift = &ExitError{Code: 2}

func newDriftCmd() *cobra.Command {
	var stack string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "drift",
		Short: "Report what differs on the host from what was deployed",
		Long: "Read everything that was deployed and report, property by property, what the host has otherwise.\n" +
			"Nothing is changed, neither on the host nor in the state.\n\n" +
			"The exit code is 0 if there is no drift, 2 if there is, and 1 if it could not tell, for example\n" +
			"because the host can't be reached: that is never reported as a deletion.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := observe(cmd, stack)
			if err != nil {
				return &ExitError{Code: 1, Err: err}
			}
			if asJSON {
				err = report.WriteJSON(cmd.OutOrStdout())
			} else {
				err = report.WriteText(cmd.OutOrStdout(), useColor(cmd.OutOrStdout()))
			}
			if err == nil && report.Drifted {
				err = errDrift
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host to look at")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: stack, host, checkedAt, drifted, findings")
	return cmd
}

func observe(cmd *cobra.Command, named string) (drift.Report, error) {
	s, err := open(cmd, named)
	if err != nil {
		return drift.Report{}, err
	}
	stack, err := s.stack(cmd.Context(), named)
	if err != nil {
		return drift.Report{}, err
	}
	if err := s.exists(cmd, stack, false); err != nil {
		return drift.Report{}, err
	}
	host := hostAddress(s.environment.Root, stack)
	started := time.Now()
	findings, err := s.engine.Observe(cmd.Context(), stack)
	if err != nil {
		return drift.Report{}, fmt.Errorf("could not tell whether %s (%s) has drifted: %w", stack, host, s.environment.WrongKey(err))
	}
	return drift.New(stack, host, started, findings), nil
}
