// Package host declares everything that llmhost places on one machine.
//
// It exists so that a host file means the same for every host: one component turns it into
// resources, and decides who owns what, what has to be there first, and what stays when it is
// no longer declared.
package host

import (
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"unicode/utf8"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/components/compose"
	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/components/model"
	"github.com/llmhost/llmhost/components/quadlet"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
	"github.com/llmhost/llmhost/internal/secrets"
)

// The component's token and the names of its children are part of every URN, so they are never
// changed. An engine, a model and a server have their name in the host file, a companion is
// MODEL/COMPANION, a directory and a file have their path, a package has its name; these have names
// of their own.
const (
	inferenceHostToken = "llmhost:host:InferenceHost"
	modelsGroupName    = "models-group"
	modelsFolderName   = "models"
	watchName          = "watch"
	engineRootName     = "engine-root"
)

// InferenceHost is a machine with its engines, models and model servers, and with the files
// and directories that its user wants there.
type InferenceHost struct {
	pulumi.ResourceState

	// Servers are the addresses of the model servers on the host, by name.
	Servers pulumi.StringMapOutput `pulumi:"servers"`

	token       pulumi.StringPtrInput
	group       *llmhost.SystemUser
	watch       *model.Watch
	engineRoot  pulumi.Resource              // nil: no engine needs it
	engines     map[string][]pulumi.Resource // by what names their bytes, with all that they need
	packages    map[string]pulumi.Resource   // by name
	runtimes    map[string][]pulumi.Resource // what llmhost sees to for servers that a runtime runs
	models      map[string][]pulumi.Resource // with their companions, by name
	accounts    map[string]pulumi.Resource   // that llmhost makes, by name
	directories map[string]pulumi.Resource   // by path
}

// InferenceHostArgs is what a host is made of.
type InferenceHostArgs struct {
	Host *hostfile.Host
	// Facts may be nil for a host that wasn't probed yet.
	Facts *hostfile.Facts
	// ModelToken opens private models on a hub; nil for none. It should be a secret.
	ModelToken pulumi.StringPtrInput
	// Keys are the keys of the host's secrets that are accepted now, the current one first, by the
	// secret's name.
	Keys map[string][]secrets.Key
}

// NewInferenceHost declares a host. The provider that reaches the host comes by opts.
func NewInferenceHost(ctx *pulumi.Context, args InferenceHostArgs, opts ...pulumi.ResourceOption) (*InferenceHost, error) {
	h := args.Host
	if err := checkExposure(h, args.Facts); err != nil {
		return nil, err
	}
	c := &InferenceHost{
		token:       args.ModelToken,
		engines:     map[string][]pulumi.Resource{},
		packages:    map[string]pulumi.Resource{},
		runtimes:    map[string][]pulumi.Resource{},
		models:      map[string][]pulumi.Resource{},
		accounts:    map[string]pulumi.Resource{},
		directories: map[string]pulumi.Resource{},
	}
	if err := ctx.RegisterComponentResource(inferenceHostToken, h.Name, c, opts...); err != nil {
		return nil, fmt.Errorf("declare host %q: %w", h.Name, err)
	}
	if len(h.Models) > 0 {
		if err := c.declareModels(ctx, h); err != nil {
			return nil, err
		}
	}
	if err := needRuntimes(h, args.Facts); err != nil {
		return nil, err
	}
	if err := c.declareContainers(ctx, h, args.Facts); err != nil {
		return nil, err
	}
	if err := c.declareEngines(ctx, h); err != nil {
		return nil, err
	}
	if err := c.declareServers(ctx, h, args.Facts, args.Keys); err != nil {
		return nil, err
	}
	if err := c.declareDirectories(ctx, h); err != nil {
		return nil, err
	}
	if err := c.declareFiles(ctx, h); err != nil {
		return nil, err
	}
	if err := c.declareConfinement(ctx, h, args.Facts); err != nil {
		return nil, err
	}
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{"servers": c.Servers})
}

// declareModels places the models where only root and the group of the servers can read them.
func (c *InferenceHost) declareModels(ctx *pulumi.Context, h *hostfile.Host) error {
	var err error
	c.group, err = llmhost.NewSystemUser(ctx, modelsGroupName, &llmhost.SystemUserArgs{
		Name:    pulumi.String(inference.ModelsGroup),
		Comment: pulumi.String("llmhost readers of the models"),
	}, pulumi.Parent(c))
	if err != nil {
		return fmt.Errorf("declare the group %s: %w", inference.ModelsGroup, err)
	}
	c.accounts[inference.ModelsGroup] = c.group
	folder, err := llmhost.NewDirectory(ctx, modelsFolderName, &llmhost.DirectoryArgs{
		Path:  pulumi.String(h.ModelsPath),
		Mode:  pulumi.String("0750"),
		Owner: pulumi.String("root"),
		Group: pulumi.String(inference.ModelsGroup),
	}, pulumi.Parent(c), pulumi.DependsOn([]pulumi.Resource{c.group}))
	if err != nil {
		return fmt.Errorf("declare the models' folder %s: %w", h.ModelsPath, err)
	}
	for i := range h.Models {
		if err := c.declareModel(ctx, h, &h.Models[i], folder); err != nil {
			return err
		}
	}
	c.watch, err = model.NewWatch(ctx, watchName, model.WatchArgs{Host: h, Models: c.models}, pulumi.Parent(c))
	return err
}

// declareModel places a model and its companions, which are models of their own: each comes from
// somewhere else and is verified by itself.
func (c *InferenceHost) declareModel(ctx *pulumi.Context, h *hostfile.Host, m *hostfile.Model, folder pulumi.Resource) error {
	opts := []pulumi.ResourceOption{pulumi.Parent(c), pulumi.DependsOn([]pulumi.Resource{c.group, folder})}
	if m.Retain {
		opts = append(opts, pulumi.RetainOnDelete(true))
	}
	args := c.modelArgs(h, m.Source, m.SHA256, m.Download)
	args.Path, args.Folder = pulumi.String(h.ModelFile(m)), pulumi.Bool(m.Source.Folder)
	args.AllowPickle = pulumi.Bool(m.AllowPickle)
	if s := m.Signature; s != nil {
		key, err := os.ReadFile(s.Key)
		if err != nil {
			return fmt.Errorf("%s: model %q: read the key that must have signed it: %w", s.At("key"), m.Name, err)
		}
		args.PublicKey = pulumi.String(key)
		if s.File != "" {
			args.Signature = pulumi.String(s.File)
		}
	}
	placed, err := llmhost.NewModel(ctx, m.Name, args, opts...)
	if err != nil {
		return fmt.Errorf("declare model %q: %w", m.Name, err)
	}
	c.models[m.Name] = []pulumi.Resource{placed}
	for i := range m.Companions {
		companion := &m.Companions[i]
		args := c.modelArgs(h, companion.Source, companion.SHA256, m.Download)
		args.Path, args.Role = pulumi.String(h.CompanionFile(m, companion)), pulumi.String(companion.Kind)
		placed, err := llmhost.NewModel(ctx, m.Name+"/"+companion.Name, args, opts...)
		if err != nil {
			return fmt.Errorf("declare companion %q of model %q: %w", companion.Name, m.Name, err)
		}
		c.models[m.Name] = append(c.models[m.Name], placed)
	}
	return nil
}

// modelArgs are what a model and a companion have in common. What is on the host already is
// taken over, and so stays there when it is no longer declared.
func (c *InferenceHost) modelArgs(h *hostfile.Host, source modelfile.Source, sha256, download string) *llmhost.ModelArgs {
	args := &llmhost.ModelArgs{
		Source: pulumi.String(source.Text),
		Sha256: pulumi.String(sha256),
		Mode:   pulumi.String("0640"),
		Owner:  pulumi.String("root"),
		Group:  pulumi.String(inference.ModelsGroup),
	}
	switch source.Kind {
	case modelfile.Host:
		args.Adopt = pulumi.Bool(true)
	case modelfile.HTTPS, modelfile.Hub:
		args.Download = pulumi.String(download)
		args.Hub = pulumi.String(h.Hub)
		args.Token = c.token
	}
	return args
}

func (c *InferenceHost) declareServers(ctx *pulumi.Context, h *hostfile.Host, facts *hostfile.Facts, keys map[string][]secrets.Key) error {
	addresses := pulumi.StringMap{}
	projects := projects{}
	for _, server := range h.Servers {
		s, err := inference.NewServer(h, facts, server)
		if err != nil {
			return err
		}
		if secret := h.Secret(server.APIKey); secret != nil {
			s.APIKeys = &inference.APIKeys{Secret: *secret, Keys: keys[secret.Name]}
		}
		args := inference.ModelServerArgs{Server: s, Needs: c.needs(s)}
		var m *inference.ModelServer
		switch server.Runtime {
		case hostfile.RuntimeCompose:
			image, imageErr := c.dockerImage(ctx, s)
			if imageErr != nil {
				return imageErr
			}
			m, err = inference.NewContainedServer(ctx, server.Name, args, pulumi.Parent(c))
			if err == nil {
				projects.add(s, slices.Concat(m.Own(), image, args.Needs))
			}
		case hostfile.RuntimeQuadlet:
			m, err = inference.NewContainedServer(ctx, server.Name, args, pulumi.Parent(c))
			if err == nil {
				_, err = quadlet.Declare(ctx, server.Name, quadlet.ComponentArgs{Server: s, Needs: slices.Concat(m.Own(), args.Needs)}, pulumi.Parent(m))
			}
		default:
			m, err = inference.NewModelServer(ctx, server.Name, args, pulumi.Parent(c))
		}
		if err != nil {
			return err
		}
		c.accounts[server.UserName()] = m.User
		addresses[server.Name] = m.Address
	}
	c.Servers = addresses.ToStringMapOutput()
	return c.declareProjects(ctx, h, projects)
}

// projects are the compose projects of a host, by name.
type projects map[string]*project

// project are the servers of a compose project with what they need.
type project struct {
	servers []*inference.Server
	needs   []pulumi.Resource
}

func (p projects) add(s *inference.Server, needs []pulumi.Resource) {
	name := compose.NameOf(&s.Server)
	if p[name] == nil {
		p[name] = &project{}
	}
	p[name].servers = append(p[name].servers, s)
	for _, n := range needs {
		if !slices.Contains(p[name].needs, n) {
			p[name].needs = append(p[name].needs, n)
		}
	}
}

func (c *InferenceHost) declareProjects(ctx *pulumi.Context, h *hostfile.Host, all projects) error {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		p := all[name]
		_, err := compose.NewComponent(ctx, compose.ComponentArgs{
			Project: compose.NewProject(h, name, p.servers), Needs: p.needs,
		}, pulumi.Parent(c))
		if err != nil {
			return err
		}
	}
	return nil
}

// needs are what has to be there before a server starts.
func (c *InferenceHost) needs(s *inference.Server) []pulumi.Resource {
	return slices.Concat([]pulumi.Resource{c.group}, c.engines[s.Engine.Identity()], c.runtimes[s.Server.Runtime],
		c.models[s.Model.Name], c.watch.Needs(s.Model.Name))
}

func (c *InferenceHost) declareDirectories(ctx *pulumi.Context, h *hostfile.Host) error {
	for _, d := range parentsFirst(h.Directories) {
		directory, err := llmhost.NewDirectory(ctx, d.Path, &llmhost.DirectoryArgs{
			Path:  pulumi.String(d.Path),
			Mode:  pulumi.String(d.Mode.String()),
			Owner: pulumi.String(d.Owner),
			Group: pulumi.String(d.Group),
			Adopt: pulumi.Bool(d.Adopt),
		}, pulumi.Parent(c), c.after(d.Path, d.Owner, d.Group))
		if err != nil {
			return fmt.Errorf("declare directory %s: %w", d.Path, err)
		}
		c.directories[d.Path] = directory
	}
	return nil
}

func (c *InferenceHost) declareFiles(ctx *pulumi.Context, h *hostfile.Host) error {
	for _, f := range h.Files {
		content, err := fileContent(f)
		if err != nil {
			return err
		}
		_, err = llmhost.NewFile(ctx, f.Path, &llmhost.FileArgs{
			Path:    pulumi.String(f.Path),
			Content: pulumi.String(content),
			Mode:    pulumi.String(f.Mode.String()),
			Owner:   pulumi.String(f.Owner),
			Group:   pulumi.String(f.Group),
			Guard:   guardOf(&f),
			Adopt:   pulumi.Bool(f.Adopt),
		}, pulumi.Parent(c), c.after(f.Path, f.Owner, f.Group))
		if err != nil {
			return fmt.Errorf("declare file %s: %w", f.Path, err)
		}
	}
	return nil
}

// after makes a path wait for the directory that it is in and for the accounts that it belongs
// to, as far as they are declared here.
func (c *InferenceHost) after(p, owner, group string) pulumi.ResourceOption {
	var needs []pulumi.Resource
	for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
		if d := c.directories[dir]; d != nil {
			needs = append(needs, d)
			break
		}
	}
	if a := c.accounts[owner]; a != nil {
		needs = append(needs, a)
	}
	if a := c.accounts[group]; a != nil && group != owner {
		needs = append(needs, a)
	}
	return pulumi.DependsOn(needs)
}

// guardOf is what the host file says; nil leaves it to the provider.
func guardOf(f *hostfile.File) pulumi.BoolPtrInput {
	if f.Guard == nil {
		return nil
	}
	return pulumi.Bool(*f.Guard)
}

// fileContent is the text of a file, from the host file or from the local file that it names.
func fileContent(f hostfile.File) (string, error) {
	if f.Source == "" {
		return f.Content, nil
	}
	content, err := os.ReadFile(f.Source)
	if err != nil {
		return "", fmt.Errorf("%s: file %q: read its source: %w", f.At("source"), f.Path, err)
	}
	if !utf8.Valid(content) {
		return "", fmt.Errorf("%s: file %q: its source %s isn't text (UTF-8), and a file resource holds text", f.At("source"), f.Path, f.Source)
	}
	return string(content), nil
}
