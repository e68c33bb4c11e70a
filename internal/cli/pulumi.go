package cli

import (
	"fmt"
	"path"
	"slices"

	"github.com/spf13/cobra"

	p "github.com/pulumi/pulumi-go-provider"

	"github.com/llmhost/llmhost/internal/engine"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/provider"
)

func newProvider() p.Provider { return provider.New() }

// Commands below Pulumi's groups that choose or list stacks, and so are not about one.
var aboutNoStack = []string{"ls", "list", "init", "new", "select", "unselect"}

// Commands that take their stack as an argument, too.
var takesStack = []string{"llmhost cancel", "llmhost stack remove"}

// Verbs that make the stack of a host file that has none yet.
var makesStack = []string{"preview", "up", "import", "config"}

// Verbs that run the program, and so need the host file; true for those that can do without if
// they are told to.
var runsProgram = map[string]bool{"preview": false, "up": false, "refresh": true, "destroy": true}

// addPulumi adds Pulumi's commands. Each gets the engine, and its stack, before it runs.
func addPulumi(root *cobra.Command, g *globals) {
	for _, c := range engine.Commands() {
		c.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
			if err := g.apply(); err != nil {
				return err
			}
			return prepare(cmd, c.Name())
		}
		if _, runs := runsProgram[c.Name()]; runs {
			c.Args = noArguments // Pulumi's up would take one for the address of a template
		}
		group := groupDeploy
		if c.Name() == "stack" || c.Name() == "state" {
			group = groupLook
		}
		add(root, group, c)
	}
}

// prepare opens the engine for one of Pulumi's commands and decides its stack.
func prepare(cmd *cobra.Command, verb string) error {
	flag := cmd.Flags().Lookup("stack")
	named := ""
	if flag != nil {
		named = flag.Value.String()
	}
	s, err := open(cmd, named)
	if err != nil {
		return err
	}
	s.engine.Use()
	reword(cmd, s.environment)
	if flag == nil || slices.Contains(aboutNoStack, cmd.Name()) || slices.Contains(takesStack, cmd.CommandPath()) && cmd.Flags().NArg() > 0 {
		return nil
	}
	stack, err := s.stack(cmd.Context(), named)
	if err != nil {
		return err
	}
	optional, runs := runsProgram[verb]
	if optional && cmd.Flags().Lookup("run-program").Value.String() == "false" {
		runs = false
	}
	if runs {
		// Before the stack is made, and before the engine would show it among its own affairs.
		if err := s.validHostFile(stack); err != nil {
			return err
		}
	}
	if err := s.exists(cmd, stack, slices.Contains(makesStack, verb)); err != nil {
		return err
	}
	if runs && !s.hasHostFile(stack) {
		err := fmt.Errorf("stack %q has no host file: write hosts/%s%s", stack, path.Base(stack), hostfile.Extension)
		if optional {
			err = fmt.Errorf("%w, or go by the connection in the state with --run-program=false", err)
		}
		return err
	}
	return flag.Value.Set(stack)
}

// reword makes a command's errors name what llmhost knows about them.
func reword(cmd *cobra.Command, environment engine.Environment) {
	run := cmd.RunE
	if run == nil {
		return
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return environment.WrongKey(run(cmd, args))
	}
}
