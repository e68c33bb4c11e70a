package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/blang/semver"
	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/engine"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/provider"
	"github.com/llmhost/llmhost/stacks/program"
)

// session is an open project: where it is, and its engine.
type session struct {
	environment engine.Environment
	engine      *engine.Engine
}

// open finds the project and opens its state. The stack, if it is known already, says which
// settings file the key has to open.
func open(cmd *cobra.Command, stack string) (*session, error) {
	root, err := projectRoot()
	if err != nil {
		return nil, err
	}
	if stack, err = namedStack(stack); err != nil {
		return nil, err
	}
	environment, err := engine.Locate(root)
	if err != nil {
		return nil, err
	}
	if stack == "" {
		stack = onlyHost(root)
	}
	err = environment.Apply(stack, func(format string, args ...any) {
		fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
	})
	if err != nil {
		return nil, err
	}
	e, err := engine.Open(cmd.Context(), environment, engine.Config{
		Program: program.Run,
		Providers: []engine.Provider{{
			Name: provider.Name, Version: semver.MustParse(provider.Version), New: newProvider,
		}},
		PendingID: provider.PendingID,
		Log:       cmd.ErrOrStderr(),
	})
	if err != nil {
		return nil, err
	}
	return &session{environment, e}, nil
}

// stack decides which stack a command is about: the named one, else the selected one, else that
// of the only host file.
func (s *session) stack(ctx context.Context, named string) (string, error) {
	named, err := namedStack(named)
	if err != nil || named != "" {
		return named, err
	}
	selected, err := s.engine.Selected(ctx)
	if err != nil || selected != "" {
		return selected, err
	}
	if only := onlyHost(s.environment.Root); only != "" {
		return only, nil
	}
	return "", whichHost(s.environment.Root)
}

// exists makes sure that the stack exists. One that has a host file is made on the way if
// create is set.
func (s *session) exists(cmd *cobra.Command, stack string, create bool) error {
	there, err := s.engine.HasStack(cmd.Context(), stack)
	if err != nil || there {
		return err
	}
	if !s.hasHostFile(stack) {
		return &ExitError{Code: 6, Err: fmt.Errorf("there is no stack %q and no host file hosts/%s%s: %s",
			stack, stack, hostfile.Extension, hostList(s.environment.Root))}
	}
	if !create {
		return &ExitError{Code: 6, Err: fmt.Errorf("host %q has not been deployed yet: run `llmhost up -s %s` first", stack, stack)}
	}
	if err := s.engine.CreateStack(cmd.Context(), stack); err != nil {
		return s.environment.WrongKey(err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "stack %s is new: made for hosts/%s%s\n", stack, stack, hostfile.Extension)
	return nil
}

// hasHostFile reports whether a stack's host file is there.
func (s *session) hasHostFile(stack string) bool {
	return slices.Contains(hosts(s.environment.Root), path.Base(stack))
}

// validHostFile returns the faults of a stack's host file, if it is there.
func (s *session) validHostFile(stack string) error {
	if !s.hasHostFile(stack) {
		return nil
	}
	_, diags := hostfile.Load(fromHere(filepath.Join(s.environment.Root, "hosts", path.Base(stack)+hostfile.Extension)))
	return hostfile.AsError(diags)
}

// hosts lists the names of the project's host files.
func hosts(root string) []string {
	files, _ := hostfile.Paths(filepath.Join(root, "hosts")) // hostList says why there are none
	names := make([]string, 0, len(files))
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), hostfile.Extension))
	}
	return names
}

func onlyHost(root string) string {
	if names := hosts(root); len(names) == 1 {
		return names[0]
	}
	return ""
}

// whichHost is the error of a command that can't tell which host it is about.
func whichHost(root string) error {
	if len(hosts(root)) == 0 {
		return errors.New(hostList(root))
	}
	return fmt.Errorf("which host? Name it with -s: %s", hostList(root))
}

// hostList names the project's host files, or says why there are none.
func hostList(root string) string {
	folder := filepath.Join(root, "hosts")
	if _, err := hostfile.Paths(folder); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Sprintf("the host files can't be listed: %v", err)
	}
	names := hosts(root)
	if len(names) == 0 {
		return "there are no host files in " + folder + " yet"
	}
	return "the host files are " + strings.Join(names, ", ")
}

// hostAddress is where a stack's host is, as its file says; the stack's name if there is none.
func hostAddress(root, stack string) string {
	path := filepath.Join(root, "hosts", stack+hostfile.Extension)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return stack
	}
	h, diags := hostfile.Load(path)
	switch {
	case diags.HasErrors() || h == nil:
		return stack
	case h.SSH != nil:
		return h.SSH.Address
	default:
		return "this machine"
	}
}
