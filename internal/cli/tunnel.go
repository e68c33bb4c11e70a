package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/secrets"
)

func newTunnelCmd() *cobra.Command {
	var stack, server string
	var port int
	cmd := &cobra.Command{
		Use:   "tunnel",
		Short: "Open a model server of a host on a loopback port of this machine",
		Long: "Listen on 127.0.0.1 of this machine and pass each connection over SSH to a model server of a host,\n" +
			"until Ctrl-C. Every user and program of this machine can use the port meanwhile; no other machine\n" +
			"can. A connection to the host that was lost is made again with the next request.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if port < 0 || port > 65535 {
				return fmt.Errorf("--port: %d is not a port", port)
			}
			h, err := loadHost(stack)
			if err != nil {
				return err
			}
			s, err := serverOf(h, server)
			if err != nil {
				return err
			}
			return tunnel(cmd, h, s, port)
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host")
	cmd.Flags().StringVar(&server, "server", "", "the server, when the host has several")
	cmd.Flags().IntVar(&port, "port", 8080, "the port on 127.0.0.1 (0: a free one)")
	return cmd
}

func tunnel(cmd *cobra.Command, h *hostfile.Host, s *hostfile.Server, port int) error {
	ctx, stop := untilInterrupted(cmd)
	defer stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d of this machine is taken: choose another one with --port", port)
	}
	if err != nil {
		return fmt.Errorf("listen on 127.0.0.1: %w", err)
	}
	defer listener.Close()
	pool := remote.NewPool(connection(cmd))
	defer pool.Close()
	dial := func(ctx context.Context) (net.Conn, error) {
		conn, err := pool.Conn(ctx, targetOf(h))
		if err != nil {
			return nil, err
		}
		return conn.DialServer(ctx, addressOf(s))
	}
	// One connection before anything is promised.
	first, err := dial(ctx)
	if err != nil {
		return fmt.Errorf("server %s of %s can't be reached: %w", s.Name, h.Name, err)
	}
	first.Close()

	url := "http://" + listener.Addr().String()
	authorization := ""
	if s.APIKey != "" {
		authorization = fmt.Sprintf(" \\\n    -H \"Authorization: Bearer $%s\"", secrets.Variable(s.APIKey))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is server %s of %s. Ctrl-C ends.\n\n"+
		"  curl %s/v1/chat/completions -H 'Content-Type: application/json'%s \\\n"+
		"    -d '{\"model\": %q, \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'\n", url, s.Name, h.Name, url, authorization, s.Model)
	if s.APIKey != "" {
		fmt.Fprintf(cmd.OutOrStdout(), "\nClients have to send the secret %q: `llmhost secrets export %s -s %s -o FOLDER` writes it for them.\n", s.APIKey, s.APIKey, h.Name)
	}

	context.AfterFunc(ctx, func() { listener.Close() })
	return forward(ctx, listener, dial, func(err error) { fmt.Fprintln(cmd.ErrOrStderr(), err) })
}

// forward passes each connection of a listener on, until the context ends.
func forward(ctx context.Context, listener net.Listener, dial func(context.Context) (net.Conn, error), failed func(error)) error {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		near, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept a connection: %w", err)
		}
		open.Go(func() {
			defer near.Close()
			far, err := dial(ctx)
			if err != nil {
				if ctx.Err() == nil {
					failed(err)
				}
				return
			}
			defer far.Close()
			stop := context.AfterFunc(ctx, func() {
				near.Close()
				far.Close()
			})
			defer stop()
			splice(near, far)
		})
	}
}

// splice copies both ways. The end of one direction is passed on as such, since a client may
// close its half and still wait for the answer.
func splice(a, b net.Conn) {
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			from, to := pair[0], pair[1]
			_, err := io.Copy(to, from)
			half, ok := to.(interface{ CloseWrite() error })
			if err != nil || !ok || half.CloseWrite() != nil {
				a.Close()
				b.Close()
			}
		})
	}
	both.Wait()
}
