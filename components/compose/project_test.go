package compose

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/hostfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

// load reads a host of testdata with its facts.
func load(t testing.TB, name string) (*hostfile.Host, *hostfile.Facts) {
	t.Helper()
	file := filepath.Join("testdata", name+".hcl")
	host, diags := hostfile.Load(file)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	facts, err := hostfile.LoadFacts(file)
	if err != nil {
		t.Fatal(err)
	}
	return host, facts
}

// projects are those of a host of testdata, by name.
func projects(t testing.TB, name string) map[string]*Project {
	t.Helper()
	host, facts := load(t, name)
	servers := map[string][]*inference.Server{}
	for _, server := range host.Servers {
		s, err := inference.NewServer(host, facts, server)
		if err != nil {
			t.Fatal(err)
		}
		servers[NameOf(&server)] = append(servers[NameOf(&server)], s)
	}
	all := map[string]*Project{}
	for project, list := range servers {
		all[project] = NewProject(host, project, list)
	}
	return all
}

// A container that gets less tight shows here, in a review.
func TestProjectsAreGolden(t *testing.T) {
	for _, host := range []string{"desktop", "radeon"} {
		for name, p := range projects(t, host) {
			t.Run(host+"-"+name, func(t *testing.T) {
				text, err := p.Text()
				if err != nil {
					t.Fatal(err)
				}
				file := filepath.Join("testdata", host+"-"+name+".yaml")
				if *update {
					if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatalf("%v; write it with go test -update", err)
				}
				if diff := cmp.Diff(string(want), text); diff != "" {
					t.Errorf("%s (-want +got; accept with go test -update):\n%s", file, diff)
				}
			})
		}
	}
}

func TestNumbersThatOnlyTheHostKnowsAreVariables(t *testing.T) {
	p := projects(t, "desktop")["stack"]
	want := map[string]string{"HYBRID_UID": "user:llm-hybrid", "HYBRID_GID": "group:llm-hybrid", "MODELS_GID": "group:llm-models"}
	if diff := cmp.Diff(want, p.Accounts()); diff != "" {
		t.Errorf("accounts (-want +got):\n%s", diff)
	}
	folders := map[string]string{"/run/llmhost/chat": "1000:llm-chat", "/run/llmhost/hybrid": "llm-hybrid:llm-hybrid"}
	if diff := cmp.Diff(folders, p.Folders()); diff != "" {
		t.Errorf("folders (-want +got):\n%s", diff)
	}
}

func TestAnotherModelAtTheSamePathMakesTheContainerAnew(t *testing.T) {
	before, err := projects(t, "desktop")["plain"].Text()
	if err != nil {
		t.Fatal(err)
	}
	p := projects(t, "desktop")["plain"]
	p.servers[0].Model.SHA256 = strings.Repeat("8", 64)
	after, err := p.Text()
	if err != nil {
		t.Fatal(err)
	}
	if before == after {
		t.Error("the text is the same, so that Compose would leave the old model open")
	}
}

func TestContainersShareNothingThatTheyCanWrite(t *testing.T) {
	seen := map[string]string{}
	for _, p := range projects(t, "desktop") {
		for _, s := range p.servers {
			service := p.service(s)
			if service.NetworkMode != "none" || len(service.Ports) > 0 || !service.ReadOnly {
				t.Errorf("%s has a network, a port or a root that it can write", service.Name)
			}
			for _, v := range service.Volumes {
				if v.ReadOnly {
					continue
				}
				if other, taken := seen[v.Source]; taken {
					t.Errorf("%s and %s can both write %s", service.Name, other, v.Source)
				}
				seen[v.Source] = service.Name
				if !strings.HasPrefix(v.Source, "/run/llmhost/") {
					t.Errorf("%s can write %s of the host", service.Name, v.Source)
				}
			}
		}
	}
}

// Whatever is in a host file, the loader reads from the text what was meant, or nothing at all.
func FuzzTextMeansWhatWasMeant(f *testing.F) {
	for _, s := range []string{"plain", "$HOME", "${UID}", "$$", "a: b", "- x", "\"", "'", "#", "\n", "\t", "\\x01{MODELS_GID}", "&a", "*a", "!!str", "{}", "é", "\u2028", "yes", "0x10", "1e3", "~", "null", "a:b:ro", "%{}", "|", ">"} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, path, timezone, alias string) {
		// What the host file refuses before (internal/hostfile, unsafePath).
		for _, s := range []string{path, timezone, alias} {
			if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) || strings.ToValidUTF8(s, "") != s {
				return
			}
		}
		p := projects(t, "desktop")["plain"]
		s := p.servers[0]
		s.File, s.Entry, s.Timezone, s.Model.Name = "/data/"+path, "/data/"+path, timezone, alias
		text, err := p.Text()
		if err != nil {
			return // refused with a reason
		}
		var mine []string
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "   ") {
				mine = append(mine, strings.TrimSpace(line))
			}
		}
		if !slices.Equal(mine, []string{"plain:"}) {
			t.Errorf("the services are %v", mine)
		}
	})
}

// What leads to a container from the host shows in a review, too.
func TestUnitsAreGolden(t *testing.T) {
	p := projects(t, "desktop")["stack"]
	units := map[string]systemd.Unit{p.BootUnitName(): p.BootUnit()}
	socket, service := PortNames(p.servers[0])
	units[socket], units[service] = PortUnits(p.servers[0])
	for name, u := range units {
		text, err := u.Text()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%v; write it with go test -update", err)
		}
		if diff := cmp.Diff(string(want), text); diff != "" {
			t.Errorf("%s (-want +got; accept with go test -update):\n%s", file, diff)
		}
	}
}
