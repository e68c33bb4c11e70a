package cli

import (
	"errors"
	"fmt"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError is a wrong flag in the words of llmhost: which flag was probably meant, and where
// they are all explained.
func flagError(cmd *cobra.Command, err error) error {
	hint := "."
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		if near := nearestFlag(cmd, unknown.GetSpecifiedName()); near != "" {
			hint = fmt.Sprintf(". Did you mean --%s?", near)
		}
	}
	return fmt.Errorf("%w%s See `%s --help`", err, hint, cmd.CommandPath())
}

// nearestFlag is the flag that was probably meant, at most two edits and half of what was written
// away; empty if there is none.
func nearestFlag(cmd *cobra.Command, name string) string {
	best, distance := "", 3
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		d := levenshtein.Distance(name, f.Name, nil)
		if !f.Hidden && d < distance && 2*d <= len(name) {
			best, distance = f.Name, d
		}
	})
	return best
}
