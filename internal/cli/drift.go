package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/drift"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/remote"
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
		Args: noArguments,
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
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: stack, host, checkedAt, drifted, findings, roundTrips")
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
	facts, err := factFindings(cmd.Context(), s.environment.Root, stack)
	if err != nil {
		return drift.Report{}, fmt.Errorf("could not tell whether %s (%s) is still the machine of its facts file: %w", stack, host, err)
	}
	report := drift.New(stack, host, started, findings, facts...)
	report.RoundTrips = remote.Shared().RoundTrips()
	return report, nil
}

// factFindings asks the host what it is and compares that with its facts file, if there is one.
// It takes the connection over which the resources were read.
func factFindings(ctx context.Context, root, stack string) ([]drift.Finding, error) {
	file := filepath.Join(root, "hosts", stack+hostfile.Extension)
	want, err := hostfile.LoadFacts(file)
	if err != nil || want == nil {
		return nil, err
	}
	h, diags := hostfile.Load(file)
	if diags.HasErrors() {
		return nil, hostfile.AsError(diags)
	}
	conn, err := remote.Shared().Conn(ctx, targetOf(h))
	if err != nil {
		return nil, err
	}
	answer, err := conn.Agent().Facts(ctx, &agentpb.FactsRequest{})
	if err != nil {
		return nil, err
	}
	var findings []drift.Finding
	for _, d := range hostfile.Compare(want, factsOf(answer)) {
		f := drift.Finding{Kind: drift.Facts, Property: d.Property}
		if d.Want != "" {
			f.Want = d.Want
		}
		if d.Have != "" {
			f.Have = d.Have
		}
		findings = append(findings, f)
	}
	return findings, nil
}
