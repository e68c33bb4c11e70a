// Command stacks is what the ordinary pulumi CLI compiles and runs. llmhost runs the same
// program in its own process.
package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/stacks/program"
)

func main() { pulumi.Run(program.Run) }
