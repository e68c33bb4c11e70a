package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/remote"
)

// targetOf is how a host file says that its host is reached.
func targetOf(h *hostfile.Host) remote.Target {
	if h.SSH == nil {
		return remote.Target{HostID: h.Name, Local: true}
	}
	return remote.Target{
		HostID:     h.Name,
		Address:    h.SSH.Address,
		Port:       h.SSH.Port,
		User:       h.SSH.User,
		Identity:   h.SSH.Identity,
		KnownHosts: h.SSH.KnownHosts,
		HostKey:    h.SSH.HostKey,
		Jump:       h.SSH.Jump,
	}
}

// loadHost reads the host file of a stack; without a name, the project's only one.
func loadHost(stack string) (*hostfile.Host, error) {
	file, err := hostFile(stack)
	if err != nil {
		return nil, err
	}
	h, diags := hostfile.Load(file)
	return h, hostfile.AsError(diags)
}

// connection holds the options of connections that a verb makes for itself.
func connection(cmd *cobra.Command) remote.Options {
	return remote.Options{Log: func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }}
}

// untilInterrupted is a context that ends with Ctrl-C; a second one ends the process.
func untilInterrupted(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// serverOf picks a model server of a host; without a name, its only one.
func serverOf(h *hostfile.Host, name string) (*hostfile.Server, error) {
	var names []string
	for i := range h.Servers {
		if h.Servers[i].Name == name {
			return &h.Servers[i], nil
		}
		names = append(names, h.Servers[i].Name)
	}
	switch {
	case len(names) == 0:
		return nil, fmt.Errorf("%s declares no server", h.File)
	case name != "":
		return nil, fmt.Errorf("%s has no server %q; it has %s", h.File, name, strings.Join(names, ", "))
	case len(names) > 1:
		return nil, fmt.Errorf("which server? Name it with --server: %s", strings.Join(names, ", "))
	}
	return &h.Servers[0], nil
}

// addressOf is where a server listens on its host, as the agent wants it.
func addressOf(s *hostfile.Server) string {
	if s.Listen.Unix {
		return "unix:" + s.Socket()
	}
	return "tcp:" + s.Listen.Addr.String()
}
