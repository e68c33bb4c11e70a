// Command llmhost-agent is what llmhost runs on a host.
//
// Without arguments it is started over SSH by llmhost itself, says that it is ready and which
// protocol it speaks, and then speaks it over its standard input and output. With arguments it is
// one of the checks that the host's own units run when llmhost isn't connected.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/local"
	"github.com/llmhost/llmhost/internal/agent/watch"
	"github.com/llmhost/llmhost/internal/checkrecord"
	"github.com/llmhost/llmhost/internal/version"
)

const usage = `llmhost-agent is started by llmhost, and by units on a host for one of these:

  llmhost-agent check RECORD...
        look at models before a server starts; reads one only if the host doesn't remember it
  llmhost-agent verify [--max-age DURATION] RECORD|FOLDER...
        read models from beginning to end, but those that were found good within the duration
  llmhost-agent readable PATH...
        open files and all files of folders, as the user who runs it
  llmhost-agent undo [--boot] FOLDER [ID]
        undo a change that llmhost has not confirmed, or all of them
  llmhost-agent drain ADDRESS DURATION [KEYFILE]
        wait until no request runs at a model server that is about to be stopped
  llmhost-agent start --socket PATH [--readable PATH]... -- PROGRAM [ARGUMENT]...
        become a server in a container, which is to make the socket
  llmhost-agent answers [--key-file PATH] ADDRESS MODEL
        ask a server whether it works, as a container's health check
  llmhost-agent --version

A RECORD is a file in ` + checkrecord.Folder + `. The exit status is 1 when something is
not as it should be, and 2 when the arguments are wrong.
`

func main() {
	err := run(os.Args[1:])
	var wrong usageError
	switch {
	case err == nil:
	case errors.As(err, &wrong):
		fmt.Fprintf(os.Stderr, "llmhost-agent: %s\n\n%s", wrong, usage)
		os.Exit(2)
	default:
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintln(os.Stderr, "llmhost-agent:", line)
		}
		os.Exit(1)
	}
}

// usageError is a fault of the arguments.
type usageError string

func (e usageError) Error() string { return string(e) }

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if len(args) == 0 {
		return serve(ctx)
	}
	mode, args := args[0], args[1:]
	switch mode {
	case "start":
		return start(args)
	case "answers":
		return answers(ctx, args)
	}
	flags := flag.NewFlagSet(mode, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var maxAge time.Duration
	var boot bool
	switch mode {
	case "--version":
		fmt.Println("llmhost-agent", version.Version)
		return nil
	case "--help", "-h":
		fmt.Print(usage)
		return nil
	case "verify":
		flags.DurationVar(&maxAge, "max-age", 0, "")
	case "undo":
		flags.BoolVar(&boot, "boot", false, "")
	case "check", "readable", "drain":
	default:
		return usageError(fmt.Sprintf("there is no %q", mode))
	}
	if err := flags.Parse(args); err != nil {
		return usageError(err.Error())
	}
	if flags.NArg() == 0 {
		return usageError(mode + " needs to be told what")
	}
	if mode == "undo" {
		if flags.NArg() > 2 {
			return usageError("undo takes a folder and an id")
		}
		return agent.UndoUnconfirmed(ctx, flags.Arg(0), flags.Arg(1), boot)
	}
	if mode == "drain" {
		return drain(ctx, flags.Args())
	}
	w := watch.Watcher{
		Digests: digest.Cache(filepath.Join(agent.DefaultStateDir, "digests")),
		Metrics: filepath.Join(agent.DefaultStateDir, "metrics"),
		Out:     os.Stdout,
	}
	switch mode {
	case "check":
		return w.Check(ctx, flags.Args())
	case "verify":
		return w.Verify(ctx, flags.Args(), maxAge)
	default:
		return watch.Readable(flags.Args())
	}
}

func drain(ctx context.Context, args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return usageError("drain needs an address and a duration, and takes a file of keys")
	}
	limit, err := time.ParseDuration(args[1])
	if err != nil {
		return usageError(err.Error())
	}
	key := ""
	if len(args) == 3 {
		keys, err := os.ReadFile(args[2])
		if err != nil {
			return err
		}
		key, _, _ = strings.Cut(string(keys), "\n") // each is good
	}
	local.Drain(ctx, args[0], key, limit, os.Stdout)
	return nil
}

// serve is the agent at the other end of llmhost's connection.
func serve(ctx context.Context) error {
	// A broken connection must not kill the agent in the middle of a change.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	// What can't be enlarged stays as it is: a pipe of 64 KiB makes the SSH server wait for the
	// agent at every other packet.
	_, _ = unix.FcntlInt(os.Stdin.Fd(), unix.F_SETPIPE_SZ, pipeSize)
	if _, err := fmt.Printf("llmhost-agent-ready %d\n", agentpb.Protocol); err != nil {
		return err
	}
	err := agent.Serve(ctx, stdio{os.Stdin, os.Stdout}, agent.Options{
		Version:  version.Version,
		StateDir: os.Getenv("LLMHOST_STATE_DIR"), // the choice of the script that starts it
		Log:      slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if errors.Is(err, context.Canceled) { // ended by a signal
		return nil
	}
	return err
}

// pipeSize is how much the SSH server may be ahead of the agent, in bytes: the most that Linux
// gives a user (/proc/sys/fs/pipe-max-size).
const pipeSize = 1 << 20

// stdio is the process's standard input and output as one stream.
type stdio struct {
	io.ReadCloser
	io.WriteCloser
}

func (s stdio) Close() error {
	return errors.Join(s.WriteCloser.Close(), s.ReadCloser.Close())
}
