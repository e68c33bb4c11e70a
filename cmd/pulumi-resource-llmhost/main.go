// Command pulumi-resource-llmhost is the provider as a plugin of the ordinary pulumi CLI. The
// llmhost command has the same provider built in.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/llmhost/llmhost/internal/provider"
)

func main() {
	if err := provider.New().Run(context.Background(), provider.Name, provider.Version); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
