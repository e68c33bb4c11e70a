package arch

import (
	"strings"
	"testing"
)

const (
	ssh  = "golang.org/x/crypto/ssh"
	goph = "github.com/melbahja/goph"
	sftp = "github.com/pkg/sftp"
	dbus = "github.com/coreos/go-systemd/v22/dbus"
	bus  = "github.com/godbus/dbus/v5"

	pulumiEngine = "github.com/pulumi/pulumi/pkg/v3"
	pulumiSDK    = "github.com/pulumi/pulumi/sdk/v3"
	infer        = "github.com/pulumi/pulumi-go-provider"
)

// rule forbids imports.
type rule struct {
	name string
	// Either the folders that it binds, or the only ones that it doesn't.
	in     []string
	except []string

	forbidden []string // import paths, with all below them
	allowed   []string // import paths below those
	// deep forbids them through other packages too; otherwise a package's own files decide,
	// tests included.
	deep bool
	why  string
}

func (r rule) binds(path string) bool {
	if r.in != nil {
		return under(path, r.in...)
	}
	return !under(path, r.except...)
}

var rules = []rule{
	{
		name:      "components know the schema and not the provider",
		in:        []string{"components", "stacks", "internal/render"},
		forbidden: []string{module + "internal/provider", module + "internal/remote", module + "internal/agent", module + "internal/engine"},
		deep:      true,
		why:       "programs say what and the provider does it; they meet at the generated SDK alone, so that components are tested with Pulumi's mocks and rendering needs no host",
	},
	{
		name:      "the provider knows no component",
		in:        []string{"internal/provider"},
		forbidden: []string{module + "components", module + "stacks", module + "internal/hostfile"},
		deep:      true,
		why:       "the provider decides what must change and never what a unit or a file says",
	},
	{
		name:      "a host file is read without anything else of llmhost",
		in:        []string{"internal/hostfile"},
		forbidden: []string{module + "internal/provider", module + "internal/remote", module + "internal/engine", module + "components", pulumiSDK, pulumiEngine},
		deep:      true,
		why:       "validation is pure, and every other room works on its result",
	},
	{
		name:      "units are plain text made from plain values",
		in:        []string{"components/systemd"},
		forbidden: []string{module, pulumiSDK, pulumiEngine, dbus},
		allowed:   []string{module + "internal/unitfile"}, // how systemd reads a text
		deep:      true,
		why:       "rendering a unit needs neither Pulumi nor a host, and knows nothing of what the unit is for",
	},
	{
		name:      "reading a unit file needs nothing else",
		in:        []string{"internal/unitfile"},
		forbidden: []string{module, pulumiSDK, pulumiEngine, dbus},
		deep:      true,
		why:       "those who write units and those who compare them read them in the same way, and neither knows the other",
	},
	{
		name:      "a template is a text and its values",
		in:        []string{"templates"},
		forbidden: []string{module, pulumiSDK, pulumiEngine, goph, ssh, dbus},
		deep:      true,
		why:       "what is placed on a host is reviewed as a file, so that whoever fills it decides nothing but the values",
	},
	{
		name:      "templates are filled where they are placed",
		except:    []string{"internal/remote"},
		forbidden: []string{module + "templates"},
		why:       "a preparation places them before there is a provider; what the provider manages is rendered by components, where a preview shows it",
	},
	{
		name:      "one door to a host",
		except:    []string{"internal/remote", "test/bench"}, // what it is compared with
		forbidden: []string{goph, ssh, sftp},
		why:       "host keys, deadlines and cancellation are right in one place only if nothing else opens a connection",
	},
	{
		name:      "one importer of Pulumi's engine",
		except:    []string{"internal/engine", "internal/sdk/gen"},
		forbidden: []string{pulumiEngine},
		why:       "pulumi/pkg promises no stable API, so that one package has to follow it (and the generator of the SDK)",
	},
	{
		name:      "systemd is driven on the host",
		except:    []string{"internal/agent"},
		forbidden: []string{dbus, bus},
		why:       "whatever talks to systemd runs on the host, in the agent",
	},
	{
		name:      "the agent stays small",
		in:        []string{"internal/agent", "cmd/llmhost-agent"},
		forbidden: []string{pulumiSDK, pulumiEngine, infer, goph, ssh, module + "internal/remote", module + "internal/provider", module + "internal/hostfile"},
		deep:      true,
		why:       "it is sent to every host and runs there as root, so that every package in it is attack surface and transfer time",
	},
	{
		name:      "nothing imports a command or a test",
		forbidden: []string{module + "cmd", module + "test"},
		why:       "commands and tests are where imports end",
	},
}

func TestImports(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			bound := 0
			for _, p := range packages(t) {
				if !r.binds(p.path()) {
					continue
				}
				bound++
				imports := p.direct()
				if r.deep {
					imports = p.Deps
				}
				for _, imported := range imports {
					if breaks(r, p, imported) {
						t.Errorf("%s imports %s: %s", p.path(), imported, r.why)
					}
				}
			}
			if bound == 0 {
				t.Errorf("the rule binds no package: %v", r.in)
			}
		})
	}
}

// breaks reports whether an import of a package that the rule binds is forbidden. A folder may
// import what is in itself.
func breaks(r rule, p *goPackage, imported string) bool {
	if under(imported, r.allowed...) {
		return false
	}
	for _, forbidden := range r.forbidden {
		forbidden = strings.TrimSuffix(forbidden, "/")
		if imported != p.ImportPath && under(imported, forbidden) && !within(p, forbidden) {
			return true
		}
	}
	return false
}

// within reports whether a package is in a forbidden folder itself. The whole module as a
// forbidden folder means everything but the package.
func within(p *goPackage, forbidden string) bool {
	return forbidden+"/" != module && under(p.ImportPath, forbidden)
}

// A rule that can't fail protects nothing.
func TestRulesCatchABreach(t *testing.T) {
	for _, r := range rules {
		folder := "internal/somewhere"
		if r.in != nil {
			folder = r.in[0]
		}
		p := &goPackage{ImportPath: module + folder}
		if !r.binds(p.path()) {
			t.Errorf("%s: doesn't bind %s", r.name, folder)
		}
		for _, forbidden := range r.forbidden {
			if imported := strings.TrimSuffix(forbidden, "/") + "/below"; !breaks(r, p, imported) {
				t.Errorf("%s: %s may import %s", r.name, folder, imported)
			}
		}
		if breaks(r, p, "fmt") {
			t.Errorf("%s: %s may not import fmt", r.name, folder)
		}
		for _, allowed := range r.except {
			if r.binds(allowed) {
				t.Errorf("%s: binds %s, which it excepts", r.name, allowed)
			}
		}
	}
}
