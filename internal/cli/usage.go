package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/llmhost/llmhost/internal/hostfile"
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

// noArguments refuses arguments of a command that is about one host: most who give one mean that host.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s takes no argument, and was given %q; a host is named with -s: `%s -s %s`",
		cmd.CommandPath(), args[0], cmd.CommandPath(), hostOf(args[0]))
}

// hostOf is the name of a host in what may be the path of its file.
func hostOf(arg string) string {
	name := strings.TrimSuffix(filepath.Base(arg), hostfile.Extension)
	if !stackPart.MatchString(name) {
		return "NAME"
	}
	return name
}
