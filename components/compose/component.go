package compose

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// componentToken and the names of the children are part of every URN, so they are never changed.
const componentToken = "llmhost:compose:Project"

// Component is a compose project on a host: its containers, "NAME-containers".
type Component struct {
	pulumi.ResourceState

	Containers *llmhost.ComposeProject
}

// ComponentArgs is what a project is made of.
type ComponentArgs struct {
	Project *Project
	// Needs have to be on the host before the containers start and stay until they are gone: the
	// images, the models with their records, the program that starts and asks the servers, the
	// accounts. They are named because no input of the project is an output of theirs.
	Needs []pulumi.Resource
}

// NewComponent declares a project. The provider of the host comes by opts.
func NewComponent(ctx *pulumi.Context, args ComponentArgs, opts ...pulumi.ResourceOption) (*Component, error) {
	p := args.Project
	text, err := p.Text()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.servers[0].Server.Range, err)
	}
	c := &Component{}
	if err := ctx.RegisterComponentResource(componentToken, p.Name, c, opts...); err != nil {
		return nil, fmt.Errorf("declare the compose project %q: %w", p.Name, err)
	}
	readiness := llmhost.ReadinessMap{}
	for service, r := range p.Readiness() {
		readiness[service] = r.Args()
	}
	c.Containers, err = llmhost.NewComposeProject(ctx, p.Name+"-containers", &llmhost.ComposeProjectArgs{
		Name:      pulumi.String(p.Name),
		Content:   pulumi.String(text),
		Accounts:  pulumi.ToStringMap(p.Accounts()),
		Folders:   pulumi.ToStringMap(p.Folders()),
		Readiness: readiness,
	}, pulumi.Parent(c), pulumi.DependsOn(args.Needs))
	if err != nil {
		return nil, fmt.Errorf("declare the containers of the compose project %q: %w", p.Name, err)
	}
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{})
}
