package inference

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/components/model"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// modelServerToken and the names of the children are part of every URN, so they are never
// changed: state that was written with other names would be deleted and made anew.
const modelServerToken = "llmhost:inference:ModelServer"

// ModelServer is a model server on a host: its user, "NAME-user", its unit, "NAME-unit", and the
// unit that checks its models before each start, "NAME-check".
type ModelServer struct {
	pulumi.ResourceState

	// Address is where it answers on the host, as the agent dials it.
	Address pulumi.StringOutput `pulumi:"address"`

	User  *llmhost.SystemUser
	Check *llmhost.SystemdUnit
	Unit  *llmhost.SystemdUnit
}

// ModelServerArgs is what a model server is made of.
type ModelServerArgs struct {
	Server *Server
	// Needs have to be on the host before the server starts and stay until it is gone: its
	// engine, its model with its records, the program that checks it, and the group that may
	// read it. They are named because no input of the unit is an output of theirs.
	Needs []pulumi.Resource
}

// NewModelServer declares a model server. The provider of the host comes by opts.
func NewModelServer(ctx *pulumi.Context, name string, args ModelServerArgs, opts ...pulumi.ResourceOption) (*ModelServer, error) {
	s := args.Server
	text, err := s.Unit().Text()
	if err != nil {
		return nil, fmt.Errorf("%s: server %q can't be written as a systemd unit: %w", s.Server.Range, s.Server.Name, err)
	}
	m := &ModelServer{}
	if err := ctx.RegisterComponentResource(modelServerToken, name, m, opts...); err != nil {
		return nil, fmt.Errorf("declare server %q: %w", name, err)
	}
	m.User, err = llmhost.NewSystemUser(ctx, name+"-user", &llmhost.SystemUserArgs{
		Name:    pulumi.String(s.Server.UserName()),
		Comment: pulumi.String("llmhost model server " + s.Server.Name),
	}, pulumi.Parent(m))
	if err != nil {
		return nil, fmt.Errorf("declare the user of server %q: %w", name, err)
	}
	check, err := model.CheckUnit(&s.Server, &s.Model).Text()
	if err != nil {
		return nil, fmt.Errorf("%s: the check of server %q can't be written as a systemd unit: %w", s.Server.Range, s.Server.Name, err)
	}
	m.Check, err = llmhost.NewSystemdUnit(ctx, name+"-check", &llmhost.SystemdUnitArgs{
		Name:    pulumi.String(model.CheckUnitName(&s.Server)),
		Content: pulumi.String(check),
		Enabled: pulumi.Bool(false),
		State:   pulumi.String("onDemand"),
	}, pulumi.Parent(m), pulumi.DependsOn(args.Needs))
	if err != nil {
		return nil, fmt.Errorf("declare the check of server %q: %w", name, err)
	}
	readiness := s.Readiness()
	m.Unit, err = llmhost.NewSystemdUnit(ctx, name+"-unit", &llmhost.SystemdUnitArgs{
		Name:      pulumi.String(s.Server.UnitName()),
		Content:   pulumi.String(text),
		RestartOn: pulumi.ToStringMap(s.RestartOn()),
		Readiness: llmhost.ReadinessArgs{
			Address:        pulumi.String(readiness.Address),
			Model:          pulumi.String(readiness.Model),
			TimeoutSeconds: pulumi.Int(readiness.TimeoutSeconds),
		},
	}, pulumi.Parent(m), pulumi.DependsOn(append([]pulumi.Resource{m.User, m.Check}, args.Needs...)))
	if err != nil {
		return nil, fmt.Errorf("declare the unit of server %q: %w", name, err)
	}
	m.Address = pulumi.String(s.Address()).ToStringOutput()
	return m, ctx.RegisterResourceOutputs(m, pulumi.Map{"address": m.Address})
}
