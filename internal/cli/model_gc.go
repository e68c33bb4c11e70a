package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// collected is what became of one thing that a host has.
type collected struct {
	Name    string `json:"name"`
	Path    string `json:"path"`
	Removed bool   `json:"removed"` // or it would be
	Freed   uint64 `json:"freed"`   // bytes
	Kept    string `json:"kept,omitempty"`
}

// collection is what a collection removes, or would remove.
type collection struct {
	Host   string      `json:"host"`
	Done   bool        `json:"done"` // false: this is what would happen
	Freed  uint64      `json:"freed"`
	Models []collected `json:"models"`
}

// keepUploads is how long an upload that hasn't ended is kept: over a weekend, and then some.
const keepUploads = 7 * 24 * time.Hour

func newModelCollectCmd() *cobra.Command {
	var stack string
	var l login
	var olderThan time.Duration
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "gc [ssh://[user@]host[:port]/FOLDER/]",
		Short: "Remove models from a host that nothing uses any more",
		Long: "Show which models of a host nothing uses, and why the others stay; with --yes, remove them.\n\n" +
			"What goes is what llmhost has placed and no longer needs: models that were kept when they left the host\n" +
			"file (retain), and uploads that have not ended and got nothing for a week. What stays in any case is\n" +
			"what the host file declares or the stack's state has, what a process has open, what another stack\n" +
			"owns, and what llmhost has not put there.\n\n" +
			"With an address there is no state to ask, and only uploads that haven't ended are removed.",
		Example: "  llmhost model gc -s desktop\n  llmhost model gc -s desktop --yes",
		Args:    oneAddress(&stack),
		RunE: func(cmd *cobra.Command, args []string) error {
			if olderThan < 0 {
				return errors.New("--older-than: a time can't be less than 0")
			}
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			m, err := openEither(ctx, cmd, stack, l, args, true)
			if err != nil {
				return err
			}
			defer m.Close()
			result, err := m.collectUnused(ctx, olderThan, yes)
			if err != nil {
				return err
			}
			return writeTo(cmd.OutOrStdout(), asJSON, result, result.writeText)
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host")
	l.addFlags(cmd)
	cmd.Flags().DurationVar(&olderThan, "older-than", keepUploads, "remove uploads that have not ended and got nothing for this long")
	cmd.Flags().BoolVar(&yes, "yes", false, "remove what would be removed")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: host, done, freed, models")
	return cmd
}

// collectUnused removes what nothing uses, or finds out what that would be.
func (m *modelHost) collectUnused(ctx context.Context, olderThan time.Duration, do bool) (*collection, error) {
	list, err := m.list(ctx)
	if err != nil {
		return nil, err
	}
	result := &collection{Host: m.name, Done: do, Models: []collected{}}
	var free []string
	for _, one := range list.Models {
		if why := m.keeps(one, olderThan, time.Now()); why != "" {
			if one.State != modelMissing {
				result.Models = append(result.Models, collected{Name: one.Name, Path: one.Path, Kept: why})
			}
			continue
		}
		free = append(free, one.Path)
	}
	if len(free) == 0 {
		return result, nil
	}
	outcome, err := m.collect(ctx, free, do)
	if err != nil {
		return nil, err
	}
	for _, c := range outcome {
		c.Name = list.find(c.Path).Name
		result.Models = append(result.Models, c)
		result.Freed += c.Freed
	}
	return result, nil
}

// keeps says why a model stays, as far as it can be known here; nothing if it may go.
func (m *modelHost) keeps(one listedModel, olderThan time.Duration, now time.Time) string {
	switch {
	case one.State == modelPartial:
		if one.ChangedAt != nil && now.Sub(*one.ChangedAt) < olderThan {
			return fmt.Sprintf("an upload that got something %s", humanize.RelTime(*one.ChangedAt, now, "ago", "from now"))
		}
		return ""
	case one.Declared:
		return "the host file declares it"
	case one.Deployed:
		return "it is deployed: `llmhost up` removes what has left the host file"
	case !one.placed:
		return "llmhost has not put it there"
	case m.file == nil:
		return "without a stack nobody knows who needs it; `llmhost model rm` removes it"
	}
	return ""
}

// collect has the host remove models and uploads by their paths, as far as nothing there uses them.
func (m *modelHost) collect(ctx context.Context, paths []string, do bool) ([]collected, error) {
	if do {
		if err := m.Lease(ctx); err != nil {
			return nil, err
		}
	}
	resp, err := m.Agent().CollectModels(ctx, &agentpb.CollectModelsRequest{
		Paths: paths, DryRun: !do, SessionId: m.Session(), Stack: m.stack,
	})
	if err != nil {
		return nil, err
	}
	var all []collected
	for _, c := range resp.GetModels() {
		all = append(all, collected{Path: c.GetPath(), Removed: c.GetKeptBecause() == "", Freed: c.GetFreedBytes(), Kept: c.GetKeptBecause()})
	}
	return all, nil
}

func (c *collection) writeText(w io.Writer) error {
	word := "would go"
	if c.Done {
		word = "removed"
	}
	any := false
	for _, m := range c.Models {
		var err error
		if m.Removed {
			any = true
			_, err = fmt.Fprintf(w, "%s: %s, %s\n", printable(m.Path), word, humanize.IBytes(m.Freed))
		} else {
			_, err = fmt.Fprintf(w, "%s: stays: %s\n", printable(m.Path), m.Kept)
		}
		if err != nil {
			return err
		}
	}
	var err error
	switch {
	case !any:
		_, err = fmt.Fprintf(w, "nothing to remove on %s\n", c.Host)
	case c.Done:
		_, err = fmt.Fprintf(w, "%s are free again on %s\n", humanize.IBytes(c.Freed), c.Host)
	default:
		_, err = fmt.Fprintf(w, "%s would be free on %s; --yes does it\n", humanize.IBytes(c.Freed), c.Host)
	}
	return err
}
