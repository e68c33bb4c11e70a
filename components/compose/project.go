// Package compose renders model servers as Docker Compose projects.
//
// It exists so that a container is as tight as a unit: a server is rendered from the same
// inference.Server, with everything closed that it can do without. A project is made of the types
// of compose-go, which is what Docker Compose itself is made of, and its text is read back by
// compose-go's loader before anything sees it: what the loader would refuse, or understand
// differently, is an error here. Rendering is pure.
//
// A container has no network at all. Its server listens on a socket in a folder of the host, and a
// port on the host is a unit of systemd's that leads to the socket. So there is no bridge to reach
// the host's other services by, no name server to send data out through, and no port that Docker
// would open to the neighbours: Docker publishes none on an internal network (moby/moby#36174).
package compose

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/internal/hostfile"
)

// Root is the folder on the host that holds a folder for each project.
const Root = "/etc/llmhost/compose"

// Project is a compose project of a host.
type Project struct {
	Name string

	host     *hostfile.Host
	servers  []*inference.Server
	accounts map[string]string // what a variable stands for
}

// NewProject gathers servers that are one project.
func NewProject(host *hostfile.Host, name string, servers []*inference.Server) *Project {
	p := &Project{Name: name, host: host, servers: servers, accounts: map[string]string{}}
	for _, s := range servers {
		p.service(s) // which notes the accounts
	}
	return p
}

// NameOf is the project that a server is in.
func NameOf(s *hostfile.Server) string {
	if s.Project != "" {
		return s.Project
	}
	return s.Name
}

// Folder is the project's on the host.
func (p *Project) Folder() string { return path.Join(Root, p.Name) }

// File is the project's compose file on the host.
func (p *Project) File() string { return path.Join(p.Folder(), "compose.yaml") }

// EnvFile holds the numbers of the accounts on the host.
func (p *Project) EnvFile() string { return path.Join(p.Folder(), "accounts.env") }

// Accounts are the variables of the text, which stand for numbers that only the host knows.
func (p *Project) Accounts() map[string]string { return maps.Clone(p.accounts) }

// Folders hold the servers' sockets: the path and who it belongs to. Clients are let in by the
// group, whoever runs the server.
func (p *Project) Folders() map[string]string {
	folders := map[string]string{}
	for _, s := range p.servers {
		owner := s.Server.UserName()
		if uid, _, written := strings.Cut(s.Server.User, ":"); written {
			owner = uid
		}
		folders[socketFolder(s)] = owner + ":" + s.Server.UserName()
	}
	return folders
}

// Readiness is how a deployment finds out that the servers work, by service. The server is asked at
// its own socket, so that a port is none of Docker's concern.
func (p *Project) Readiness() map[string]inference.Readiness {
	asked := map[string]inference.Readiness{}
	for _, s := range p.servers {
		r := s.Readiness()
		r.Address = "unix:" + s.Server.Socket()
		asked[s.Server.Name] = r
	}
	return asked
}

// header is what a reader of the file on the host should know.
const header = "# Written by llmhost. Change the host file and deploy: what is changed here is drift.\n"

// Text is the compose file.
func (p *Project) Text() (string, error) {
	project := &types.Project{Name: p.Name, Services: types.Services{}}
	for _, s := range p.servers {
		project.Services[s.Server.Name] = p.service(s)
	}
	literal := literally(reflect.ValueOf(project.Services)).Interface().(types.Services)
	body, err := (&types.Project{Name: p.Name, Services: literal}).MarshalYAML()
	if err != nil {
		return "", fmt.Errorf("write the compose project %s: %w", p.Name, err)
	}
	text := header + string(body)
	if err := p.readBack(text, project); err != nil {
		return "", fmt.Errorf("the compose project %s: %w", p.Name, err)
	}
	return text, nil
}

// literally copies a value with every "$" in a text doubled, which Compose would take for the
// beginning of a variable. Our own variables are made with a character that nothing else has.
func literally(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.String:
		s := strings.ReplaceAll(v.String(), "$", "$$")
		out.SetString(strings.ReplaceAll(s, variableMark, "$"))
	case reflect.Pointer:
		if v.IsNil() {
			return out
		}
		p := reflect.New(v.Type().Elem())
		p.Elem().Set(literally(v.Elem()))
		out.Set(p)
	case reflect.Struct:
		for i := range v.NumField() {
			out.Field(i).Set(literally(v.Field(i)))
		}
	case reflect.Slice:
		if v.IsNil() {
			return out
		}
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(literally(v.Index(i)))
		}
	case reflect.Map:
		if v.IsNil() {
			return out
		}
		out.Set(reflect.MakeMap(v.Type()))
		for _, key := range v.MapKeys() {
			out.SetMapIndex(key, literally(v.MapIndex(key)))
		}
	default:
		out.Set(v)
	}
	return out
}

// variableMark stands for the "$" of a variable until all others are doubled. No host file holds a
// control character.
const variableMark = "\x01"

// variable is a text that the host replaces by the number of an account.
func (p *Project) variable(name, account string) string {
	p.accounts[name] = account
	return variableMark + "{" + name + "}"
}

// readBack loads the text as Docker Compose does, and refuses it if anything comes out that wasn't
// meant: an ignored or differently understood line is a missing part of a sandbox.
func (p *Project) readBack(text string, meant *types.Project) error {
	// The accounts' numbers aren't known here: any that differ show whether each is in its place.
	numbers := types.Mapping{}
	for i, name := range slices.Sorted(maps.Keys(p.accounts)) {
		numbers[name] = strconv.Itoa(4242 + i)
	}
	loaded, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  p.Folder(),
		ConfigFiles: []types.ConfigFile{{Filename: p.File(), Content: []byte(text)}},
		Environment: numbers,
	}, func(o *loader.Options) {
		o.SetProjectName(p.Name, true)
		o.SkipNormalization = true
		o.SkipInclude, o.SkipExtends, o.SkipResolveEnvironment = true, true, true
	})
	if err != nil {
		return fmt.Errorf("Docker Compose would refuse it: %w", err)
	}
	want, err := (&types.Project{Name: p.Name, Services: meant.Services}).MarshalYAML()
	if err != nil {
		return err
	}
	have, err := (&types.Project{Name: loaded.Name, Services: loaded.Services}).MarshalYAML()
	if err != nil {
		return err
	}
	for name, number := range numbers {
		want = bytes.ReplaceAll(want, []byte(`\x01{`+name+`}`), []byte(number))
	}
	if line := firstDifference(string(want), string(have)); line != "" {
		return fmt.Errorf("Docker Compose would read it differently: %s", line)
	}
	return nil
}

func firstDifference(want, have string) string {
	a, b := strings.Split(want, "\n"), strings.Split(have, "\n")
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = strings.TrimSpace(a[i])
		}
		if i < len(b) {
			y = strings.TrimSpace(b[i])
		}
		if strings.ReplaceAll(x, `"`, "") != strings.ReplaceAll(y, `"`, "") {
			return fmt.Sprintf("%q as %q", x, y)
		}
	}
	return ""
}
