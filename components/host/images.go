package host

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// dockerImage declares the image of a server that Docker runs, once for all servers that share it.
// It has the name of its engine.
func (c *InferenceHost) dockerImage(ctx *pulumi.Context, s *inference.Server) ([]pulumi.Resource, error) {
	e := &s.Engine
	if image := c.engines[e.Image]; image != nil {
		return image, nil
	}
	image, err := llmhost.NewImage(ctx, e.Name, &llmhost.ImageArgs{
		Runtime:   pulumi.String(hostfile.RuntimeDocker),
		Reference: pulumi.String(e.Image),
		Source:    pulumi.String(e.Source),
		Sha256:    pulumi.String(e.SHA256),
	}, pulumi.Parent(c), pulumi.DependsOn(c.runtimes[s.Server.Runtime]))
	if err != nil {
		return nil, fmt.Errorf("declare the image of engine %q: %w", e.Name, err)
	}
	c.engines[e.Image] = []pulumi.Resource{image}
	return c.engines[e.Image], nil
}
