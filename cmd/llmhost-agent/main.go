// Command llmhost-agent is what llmhost runs on a host. It is started over SSH by llmhost
// itself, says that it is ready and which protocol it speaks, and then speaks it over its
// standard input and output. It takes no arguments from users.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/llmhost/llmhost/internal/agent"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/version"
)

func main() {
	switch args := os.Args[1:]; {
	case len(args) == 0:
	case len(args) == 1 && args[0] == "--version":
		fmt.Println("llmhost-agent", version.Version)
		return
	default:
		fmt.Fprintln(os.Stderr, "llmhost-agent is started by llmhost and takes no arguments but --version")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "llmhost-agent:", err)
		os.Exit(1)
	}
}

func run() error {
	// A broken connection must not kill the agent in the middle of a change.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if _, err := fmt.Printf("llmhost-agent-ready %d\n", agentpb.Protocol); err != nil {
		return err
	}
	err := agent.Serve(ctx, stdio{os.Stdin, os.Stdout}, agent.Options{
		Version:  version.Version,
		StateDir: os.Getenv("LLMHOST_STATE_DIR"), // the start script's choice
		Log:      slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if errors.Is(err, context.Canceled) { // ended by a signal
		return nil
	}
	return err
}

// stdio is the process's standard input and output as one stream.
type stdio struct {
	io.ReadCloser
	io.WriteCloser
}

func (s stdio) Close() error {
	return errors.Join(s.WriteCloser.Close(), s.ReadCloser.Close())
}
