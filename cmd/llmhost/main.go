// Command llmhost turns a machine into a hardened private LLM host and keeps it so.
package main

import (
	"os"

	"github.com/llmhost/llmhost/internal/cli"
)

func main() { os.Exit(cli.Main()) }
