package compose

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// componentToken and the names of the children are part of every URN, so they are never changed.
const componentToken = "llmhost:compose:Project"

// Component is a compose project on a host: its containers, "NAME-containers", the unit that starts
// them at boot, "NAME-boot", and for each server with a port the units that lead from there to its
// socket, "SERVER-port-socket" and "SERVER-port".
type Component struct {
	pulumi.ResourceState

	Containers *llmhost.ComposeProject
	Boot       *llmhost.SystemdUnit
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
	for _, s := range p.servers {
		if err := possible(s); err != nil {
			return nil, err
		}
	}
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
	c.Boot, err = declareUnit(ctx, p.Name+"-boot", p.BootUnitName(), p.BootUnit(), llmhost.SystemdUnitArgs{}, c, c.Containers)
	if err != nil {
		return nil, err
	}
	for _, s := range p.servers {
		if s.Server.Listen.Unix {
			continue
		}
		if err := declarePort(ctx, s, c); err != nil {
			return nil, err
		}
	}
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{})
}

// declarePort opens a server's port last: what answers there has been seen to work. The service is
// started by its socket.
func declarePort(ctx *pulumi.Context, s *inference.Server, c *Component) error {
	socketName, serviceName := PortNames(s)
	socket, service := PortUnits(s)
	onDemand := llmhost.SystemdUnitArgs{Enabled: pulumi.Bool(false), State: pulumi.String("onDemand")}
	way, err := declareUnit(ctx, s.Server.Name+"-port", serviceName, service, onDemand, c, c.Containers)
	if err != nil {
		return err
	}
	// The server is asked once more by the way that clients take.
	asked := llmhost.SystemdUnitArgs{Readiness: s.Readiness().Args()}
	_, err = declareUnit(ctx, s.Server.Name+"-port-socket", socketName, socket, asked, c, way)
	return err
}

func declareUnit(ctx *pulumi.Context, name, unitName string, u systemd.Unit, args llmhost.SystemdUnitArgs, parent, after pulumi.Resource) (*llmhost.SystemdUnit, error) {
	text, err := u.Text()
	if err != nil {
		return nil, fmt.Errorf("write the unit %s: %w", unitName, err)
	}
	args.Name, args.Content = pulumi.String(unitName), pulumi.String(text)
	unit, err := llmhost.NewSystemdUnit(ctx, name, &args, pulumi.Parent(parent), pulumi.DependsOn([]pulumi.Resource{after}))
	if err != nil {
		return nil, fmt.Errorf("declare the unit %s: %w", unitName, err)
	}
	return unit, nil
}

// possible refuses what a container of llmhost's can't do yet, before anything is changed.
func possible(s *inference.Server) error {
	switch {
	case s.Engine.Kind == hostfile.KindOllama:
		return fmt.Errorf("%s: server %q can't run in a container: Ollama listens on no Unix socket, and a container has no network; use runtime = %q",
			s.Server.At("runtime"), s.Server.Name, hostfile.RuntimeSystemd)
	case s.Server.Exclusive != "":
		return fmt.Errorf("%s: server %q can't take turns with others in a container: leave exclusive out, or use runtime = %q",
			s.Server.At("exclusive"), s.Server.Name, hostfile.RuntimeSystemd)
	}
	return nil
}
