package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func newModelRemoveCmd() *cobra.Command {
	var stack string
	var l login
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "rm (PATH… | ssh://[user@]host[:port]/PATH)",
		Short: "Remove models from a host that no host file declares",
		Long: "Remove models, and what is left of their uploads, by their absolute paths on a host. One that the\n" +
			"host file declares or the stack's state has is refused: remove it from the host file and run\n" +
			"`llmhost up`. One that a process has open is refused, too.\n\n" +
			"The exit code is 0 when all are gone, and 1 otherwise.",
		Example: "  llmhost model rm -s desktop /srv/models/old.gguf\n  llmhost model rm ssh://alice@desktop/srv/models/old.gguf",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return errors.New("which model? Name it by its absolute path on the host; `llmhost model ls` shows them")
			case isAddress(args[0]) && len(args) > 1:
				return errors.New("rm takes one address")
			case isAddress(args[0]) && stack != "":
				return errors.New("name either a host with -s or an address, not both")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			result, err := removeModels(ctx, cmd, stack, l, args, yes)
			if err != nil {
				return err
			}
			return writeTo(cmd.OutOrStdout(), asJSON, result, result.writeText)
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host")
	l.addFlags(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "don't ask")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: host, done, freed, models")
	return cmd
}

func removeModels(ctx context.Context, cmd *cobra.Command, stack string, l login, args []string, yes bool) (*collection, error) {
	if !isAddress(args[0]) {
		h, err := loadHost(stack)
		if err != nil {
			return nil, err
		}
		models, err := selectModels(h, args)
		if err != nil {
			return nil, err
		}
		for i, d := range models {
			if d.model != nil {
				return nil, fmt.Errorf("%s declares the model %s: remove it there and run `llmhost up -s %s`, which removes it from the host", h.File, d.name, h.Name)
			}
			args[i] = d.path
		}
	}
	m, err := openEither(ctx, cmd, stack, l, addresses(args), true)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	paths := args
	if m.file == nil {
		paths = []string{m.folder}
	}
	for _, p := range paths {
		if m.deployed[p] {
			return nil, fmt.Errorf("%s is deployed: `llmhost up -s %s` removes what has left the host file", p, m.name)
		}
	}
	would, err := m.collect(ctx, paths, false)
	if err != nil {
		return nil, err
	}
	var kept []error
	var size uint64
	for _, c := range would {
		if c.Kept != "" {
			kept = append(kept, fmt.Errorf("%s can't be removed: %s", c.Path, c.Kept))
		}
		size += c.Freed
	}
	if len(kept) > 0 {
		return nil, errors.Join(kept...)
	}
	if !yes {
		question := fmt.Sprintf("Remove %s from %s? That frees %s, and can't be undone.", strings.Join(paths, ", "), m.name, humanize.IBytes(size))
		if err := confirm(cmd, question, "--yes"); err != nil {
			return nil, err
		}
	}
	result := &collection{Host: m.name, Done: true}
	if result.Models, err = m.collect(ctx, paths, true); err != nil {
		return nil, err
	}
	for i, c := range result.Models {
		result.Models[i].Name = c.Path
		result.Freed += c.Freed
		if c.Kept != "" { // it came into use meanwhile
			err = errors.Join(err, fmt.Errorf("%s was not removed: %s", c.Path, c.Kept))
		}
	}
	return result, err
}

// addresses are the arguments if they are addresses of hosts, else nothing.
func addresses(args []string) []string {
	if isAddress(args[0]) {
		return args
	}
	return nil
}
