package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/remote"
)

// switched is what a switch did.
type switched struct {
	Host    string   `json:"host"`
	Server  string   `json:"server"`
	Group   string   `json:"group"`
	Running bool     `json:"running"` // the server answers
	Reasons []string `json:"reasons"` // why it doesn't, and what runs now
}

func newSwitchCmd() *cobra.Command {
	var stack string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "switch SERVER",
		Short: "Let a server of an exclusive group run in place of the one that runs",
		Long: "Start a server that shares its `exclusive` group with others, which stops whichever of them runs, and\n" +
			"wait until its model answers. If it doesn't, what ran before is started again.\n\n" +
			"After a start of the machine the first server of the group runs; a deployment changes nothing about\n" +
			"which one does.\n\n" +
			"With --json the result is {host, server, group, running, reasons}.\n\n" +
			"The exit code is 0, 2 if the server did not answer and what ran before was started again, and 1 if it\n" +
			"could not tell.",
		Example: "  llmhost switch large -s desktop",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name one server of an exclusive group")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := loadHost(stack)
			if err != nil {
				return err
			}
			result, err := switchTo(cmd, h, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				err = encodeJSON(cmd.OutOrStdout(), result)
			} else {
				err = result.writeText(cmd.OutOrStdout())
			}
			if err == nil && !result.Running {
				err = &ExitError{Code: 2}
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: {host, server, group, running, reasons}")
	return cmd
}

func switchTo(cmd *cobra.Command, h *hostfile.Host, name string) (*switched, error) {
	server, err := serverOf(h, name)
	if err != nil {
		return nil, err
	}
	group := h.GroupOf(server)
	if len(group) < 2 {
		return nil, fmt.Errorf("server %q takes turns with no other: give two or more servers the same exclusive in %s", name, h.File)
	}
	facts, err := hostfile.LoadFacts(h.File)
	if err != nil {
		return nil, err
	}
	rendered, err := inference.NewServer(h, facts, *server)
	if err != nil {
		return nil, err
	}
	r := rendered.Readiness()
	req := &agentpb.SwitchUnitRequest{Unit: server.UnitName(), Readiness: &agentpb.Readiness{
		Address: r.Address, Model: r.Model, TimeoutSeconds: uint32(r.TimeoutSeconds), Credential: r.Credential,
	}}
	for _, other := range group {
		if other.Name != name {
			req.Others = append(req.Others, other.UnitName())
		}
	}
	ctx, stop := untilInterrupted(cmd)
	defer stop()
	conn, err := remote.Dial(ctx, targetOf(h), connection(cmd))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.Lease(ctx); err != nil {
		return nil, err
	}
	events, err := conn.Agent().SwitchUnit(ctx, req)
	if err != nil {
		return nil, err
	}
	for {
		event, err := events.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil, errors.New("the agent stopped watching the server without a result")
		case err != nil:
			return nil, err
		case event.GetDone():
			return &switched{h.Name, name, server.Exclusive, event.GetReady(), append([]string{}, event.GetReasons()...)}, nil
		case event.GetProgress() != "":
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", name, event.GetProgress())
		}
	}
}

func (s *switched) writeText(w io.Writer) error {
	if s.Running {
		_, err := fmt.Fprintf(w, "%s runs, and the others of %s don't\n", s.Server, s.Group)
		return err
	}
	_, err := fmt.Fprintf(w, "%s did not answer:\n  %s\n", s.Server, strings.Join(s.Reasons, "\n  "))
	return err
}
