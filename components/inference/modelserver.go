package inference

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/components/model"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// modelServerToken and the names of the children are part of every URN, so they are never
// changed: state that was written with other names would be deleted and made anew.
const modelServerToken = "llmhost:inference:ModelServer"

// ModelServer is a model server on a host: its user, "NAME-user", its unit, "NAME-unit", the
// unit that checks its models before each start, "NAME-check", the credential with the keys
// of its clients, "NAME-api-key", and the small files that its engine reads, "NAME-file-FILE", in
// their folder, "NAME-files".
type ModelServer struct {
	pulumi.ResourceState

	// Address is where it answers on the host, as the agent dials it.
	Address pulumi.StringOutput `pulumi:"address"`

	User  *llmhost.SystemUser
	Check *llmhost.SystemdUnit
	Unit  *llmhost.SystemdUnit // nil for a server in a container

	// Profile is its profile of AppArmor, "NAME-apparmor", nil if it has none.
	Profile *llmhost.AppArmorProfile

	files []pulumi.Resource
}

// Own are what the server has for itself on the host, and needs before it starts.
func (m *ModelServer) Own() []pulumi.Resource {
	return append([]pulumi.Resource{m.User, m.Check}, m.files...)
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
	unit, err := s.Unit()
	if err != nil {
		return nil, err
	}
	text, err := unit.Text()
	if err != nil {
		return nil, fmt.Errorf("%s: server %q can't be written as a systemd unit: %w", s.Server.Range, s.Server.Name, err)
	}
	m, err := declare(ctx, name, args, opts...)
	if err != nil {
		return nil, err
	}
	declared := &llmhost.SystemdUnitArgs{
		Name:      pulumi.String(s.Server.UnitName()),
		Content:   pulumi.String(text),
		RestartOn: pulumi.ToStringMap(s.RestartOn()),
	}
	if len(s.Group) > 0 {
		declared.Alternatives = pulumi.ToStringArray(s.Alternatives())
	}
	if s.Starts() {
		declared.Readiness = s.Readiness().Args()
	} else {
		declared.Enabled, declared.State = pulumi.Bool(false), pulumi.String("onDemand")
	}
	m.Unit, err = llmhost.NewSystemdUnit(ctx, name+"-unit", declared, pulumi.Parent(m), pulumi.DependsOn(slices.Concat(m.Own(), args.Needs)))
	if err != nil {
		return nil, fmt.Errorf("declare the unit of server %q: %w", name, err)
	}
	return m, ctx.RegisterResourceOutputs(m, pulumi.Map{"address": m.Address})
}

// Args are the readiness as a resource takes it.
func (r Readiness) Args() llmhost.ReadinessArgs {
	args := llmhost.ReadinessArgs{
		Address:        pulumi.String(r.Address),
		Model:          pulumi.String(r.Model),
		TimeoutSeconds: pulumi.Int(r.TimeoutSeconds),
	}
	if r.Credential != "" {
		args.Credential = pulumi.String(r.Credential)
	}
	return args
}

// NewContainedServer declares what a server in a container has on the host beside its container,
// which something else declares: its user, whose group opens its socket, and the check of its
// models. The names are those of a server without one.
func NewContainedServer(ctx *pulumi.Context, name string, args ModelServerArgs, opts ...pulumi.ResourceOption) (*ModelServer, error) {
	m, err := declare(ctx, name, args, opts...)
	if err != nil {
		return nil, err
	}
	return m, ctx.RegisterResourceOutputs(m, pulumi.Map{"address": m.Address})
}

// declare declares what every server has, whatever runs it.
func declare(ctx *pulumi.Context, name string, args ModelServerArgs, opts ...pulumi.ResourceOption) (*ModelServer, error) {
	s := args.Server
	m := &ModelServer{}
	if err := ctx.RegisterComponentResource(modelServerToken, name, m, opts...); err != nil {
		return nil, fmt.Errorf("declare server %q: %w", name, err)
	}
	var err error
	m.User, err = declareUser(ctx, name, s, args.Needs, m)
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
	m.files, err = declareFiles(ctx, name, s, pulumi.Parent(m))
	if err != nil {
		return nil, err
	}
	keys, err := declareAPIKeys(ctx, name, s, m.User, pulumi.Parent(m))
	if err != nil {
		return nil, err
	}
	m.files = append(m.files, keys...)
	if err := m.declareProfile(ctx, name, s); err != nil {
		return nil, err
	}
	if m.Profile != nil {
		m.files = append(m.files, m.Profile)
	}
	m.Address = pulumi.String(s.Address()).ToStringOutput()
	return m, nil
}

// declareUser declares the server's user. One that runs its container itself has what that takes:
// a home folder for its images, and the groups that its server has to be in.
func declareUser(ctx *pulumi.Context, name string, s *Server, needs []pulumi.Resource, parent pulumi.Resource) (*llmhost.SystemUser, error) {
	args := &llmhost.SystemUserArgs{
		Name:    pulumi.String(s.Server.UserName()),
		Comment: pulumi.String("llmhost model server " + s.Server.Name),
	}
	opts := []pulumi.ResourceOption{pulumi.Parent(parent)}
	if s.Server.Runtime == hostfile.RuntimeQuadlet {
		groups := []string{ModelsGroup}
		if s.GPU != nil {
			groups = append(groups, s.GPU.Groups...)
		}
		args.Containers, args.Home, args.Groups = pulumi.Bool(true), pulumi.String(s.HomeFolder()), pulumi.ToStringArray(groups)
		opts = append(opts, pulumi.DependsOn(needs)) // the models' group is one of them
	}
	return llmhost.NewSystemUser(ctx, name+"-user", args, opts...)
}

// declareFiles declares the small files that a server's engine reads, in their folder. Every user
// of the host may read them: what is secret comes another way.
func declareFiles(ctx *pulumi.Context, name string, s *Server, parent pulumi.ResourceOption) ([]pulumi.Resource, error) {
	files := s.Command().Files
	if len(files) == 0 {
		return nil, nil
	}
	folder, err := llmhost.NewDirectory(ctx, name+"-files", &llmhost.DirectoryArgs{
		Path: pulumi.String(s.filesFolder()),
		Mode: pulumi.String("0755"),
	}, parent)
	if err != nil {
		return nil, fmt.Errorf("declare the folder of the files of server %q: %w", name, err)
	}
	declared := []pulumi.Resource{folder}
	for _, f := range files {
		file, err := llmhost.NewFile(ctx, name+"-file-"+f.Name, &llmhost.FileArgs{
			Path:    pulumi.String(s.HostFile(f)),
			Content: pulumi.String(f.Content),
			Mode:    pulumi.String("0644"),
		}, parent, pulumi.DependsOn([]pulumi.Resource{folder}))
		if err != nil {
			return nil, fmt.Errorf("declare the file %s of server %q: %w", f.Name, name, err)
		}
		declared = append(declared, file)
	}
	return declared, nil
}
