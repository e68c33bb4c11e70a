package main

import (
	"context"
	"flag"
	"io"

	"github.com/llmhost/llmhost/internal/agent/contained"
)

// start becomes a server in its container.
func start(args []string) error {
	flags := flag.NewFlagSet("start", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	socket := flags.String("socket", "", "")
	var readable []string
	flags.Func("readable", "", func(path string) error {
		readable = append(readable, path)
		return nil
	})
	switch err := flags.Parse(args); {
	case err != nil:
		return usageError(err.Error())
	case *socket == "" || flags.NArg() == 0:
		return usageError("start needs a socket and a program")
	}
	return contained.Start(*socket, readable, flags.Args())
}

// answers asks a server from within its container.
func answers(ctx context.Context, args []string) error {
	probe := contained.NewProbe()
	flags := flag.NewFlagSet("answers", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&probe.KeyFile, "key-file", "", "")
	switch err := flags.Parse(args); {
	case err != nil:
		return usageError(err.Error())
	case flags.NArg() != 2:
		return usageError("answers needs an address and the name of a model")
	}
	return probe.Ask(ctx, flags.Arg(0), flags.Arg(1))
}
