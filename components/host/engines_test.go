package host

import (
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/render"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// declareWith is declare with the facts of a host.
func declareWith(t *testing.T, h *hostfile.Host, facts *hostfile.Facts) ([]render.Resource, error) {
	t.Helper()
	return render.Program(func(ctx *pulumi.Context) error {
		provider, err := llmhost.NewProvider(ctx, h.Name, &llmhost.ProviderArgs{HostId: pulumi.String(h.Name), Local: pulumi.Bool(true)})
		if err != nil {
			return err
		}
		_, err = NewInferenceHost(ctx, InferenceHostArgs{Host: h, Facts: facts}, pulumi.Providers(provider))
		return err
	}, t.TempDir(), "llmhost", h.Name)
}

// A server waits for all that its engine is made of, and nothing else: what it waits for is also
// what is still there when it is switched or taken down.
func TestServersWaitForTheirEngines(t *testing.T) {
	facts := &hostfile.Facts{OS: hostfile.OSFact{ID: "debian"}, Tools: hostfile.ToolsFact{PackageManager: "apt"}}
	resources, err := declareWith(t, parse(t, "testdata/engines.hcl"), facts)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"package-unit": "EngineRoot engine-root, Package llama.cpp-tools",
		"venv-unit":    "EngineRoot engine-root, Venv python",
		"ollama-unit":  "Engine ollama, File ollama-file-config.json, File ollama-file-manifest.json, File ollama-file-params.json",
	}
	for _, r := range resources {
		expected, ok := want[r.Name]
		if !ok {
			continue
		}
		delete(want, r.Name)
		var needs []string
		for _, need := range r.DependsOn {
			need = strings.TrimPrefix(short(need), "llmhost:index:")
			kind, name, _ := strings.Cut(need, " ")
			if slices.Contains([]string{"Engine", "EngineRoot", "Package", "Venv"}, kind) || kind == "File" && strings.HasPrefix(name, "ollama-") {
				needs = append(needs, need)
			}
		}
		slices.Sort(needs)
		if got := strings.Join(needs, ", "); got != expected {
			t.Errorf("%s waits for %s, not %s", r.Name, got, expected)
		}
	}
	if len(want) > 0 {
		t.Errorf("not declared: %v", want)
	}
	for name, version := range map[string]string{"llama.cpp-tools": "8064+dfsg-1", "docker.io": "", "docker-compose": ""} {
		i := slices.IndexFunc(resources, func(r render.Resource) bool { return r.Type == "llmhost:index:Package" && r.Name == name })
		if i < 0 {
			t.Errorf("the package %s isn't declared", name)
			continue
		}
		in := resources[i].Inputs
		if in["packageVersion"].StringValue() != version || in["hold"].BoolValue() != (version != "") {
			t.Errorf("the package %s is declared with %v", name, in)
		}
	}
}

// What a server in a container needs is missed before anything is changed.
func TestMissingRuntimesAreRefused(t *testing.T) {
	h := parse(t, "testdata/engines.hcl")
	h.Servers[0].Runtime = hostfile.RuntimeCompose
	for _, test := range []struct {
		name  string
		block *hostfile.Containers
		tools hostfile.ToolsFact
		gpus  []int
		want  string // "" for none
	}{
		{"not probed", nil, hostfile.ToolsFact{}, nil, ""},
		{"nothing there", nil, hostfile.ToolsFact{Python: "3.13.5"}, nil, `server "package" runs in a container, and the host has no Docker and no Compose plugin: add containers "docker" { install = true }`},
		{"no Compose", nil, hostfile.ToolsFact{Docker: "26.1.5"}, nil, "the host has no Compose plugin"},
		{"there", nil, hostfile.ToolsFact{Docker: "26.1.5", Compose: "2.26.1"}, nil, ""},
		{"asked for", &hostfile.Containers{Runtime: "docker", Install: true}, hostfile.ToolsFact{Python: "3.13.5"}, nil, ""},
		{"no toolkit", &hostfile.Containers{Runtime: "docker", NVIDIA: true}, hostfile.ToolsFact{Docker: "26.1.5", Compose: "2.26.1"}, []int{0}, "the host has no nvidia-container-toolkit"},
		{"an old toolkit", &hostfile.Containers{Runtime: "docker", NVIDIA: true}, hostfile.ToolsFact{Docker: "26.1.5", Compose: "2.26.1", NVIDIAToolkit: "1.17.3"}, []int{0}, "CVE-2025-23359"},
		{"a new toolkit", &hostfile.Containers{Runtime: "docker", NVIDIA: true}, hostfile.ToolsFact{Docker: "26.1.5", Compose: "2.26.1", NVIDIAToolkit: "1.17.4"}, []int{0}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.Containers, h.Servers[0].GPUs = nil, test.gpus
			if test.block != nil {
				h.Containers = []hostfile.Containers{*test.block}
			}
			err := needRuntimes(h, &hostfile.Facts{Tools: test.tools})
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestOlderThan(t *testing.T) {
	for _, test := range []struct {
		version, other string
		want           bool
	}{
		{"1.17.3", "1.17.4", true}, {"1.17.4", "1.17.4", false}, {"1.18.0", "1.17.4", false},
		{"1.9.0", "1.17.4", true}, {"1.17", "1.17.4", true}, {"2", "1.17.4", false}, {"1.17.4.1", "1.17.4", false},
	} {
		if got := olderThan(test.version, test.other); got != test.want {
			t.Errorf("%s is older than %s: %t", test.version, test.other, got)
		}
	}
}

// Packages of a distribution that isn't known are not guessed.
func TestRuntimePackagesAreNotGuessed(t *testing.T) {
	if _, err := runtimePackages("docker", "slackware"); err == nil || !strings.Contains(err.Error(), "by hand") {
		t.Errorf("got %v", err)
	}
	h := parse(t, "testdata/engines.hcl")
	if _, err := declareWith(t, h, nil); err == nil || !strings.Contains(err.Error(), "llmhost probe -s engines first") {
		t.Errorf("without facts: %v", err)
	}
}
