package host

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/render"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

var update = flag.Bool("update", false, "write the golden files anew")

func parse(t *testing.T, file string) *hostfile.Host {
	t.Helper()
	h, diags := hostfile.Load(file)
	if err := hostfile.AsError(diags); err != nil {
		t.Fatal(err)
	}
	return h
}

// declare returns what the component declares for a host, as a preview sees it.
func declare(t *testing.T, h *hostfile.Host) ([]render.Resource, error) {
	t.Helper()
	return render.Program(func(ctx *pulumi.Context) error {
		token := pulumi.ToSecret(pulumi.String("hf_token")).(pulumi.StringOutput).ToStringPtrOutput()
		provider, err := llmhost.NewProvider(ctx, h.Name, &llmhost.ProviderArgs{HostId: pulumi.String(h.Name), Local: pulumi.Bool(true)})
		if err != nil {
			return err
		}
		_, err = NewInferenceHost(ctx, InferenceHostArgs{Host: h, ModelToken: token}, pulumi.Providers(provider))
		return err
	}, t.TempDir(), "llmhost", h.Name)
}

// The graph is golden, since its names are in the state of every deployment and its edges are
// the order in which a host is built and taken down.
func TestGraphIsGolden(t *testing.T) {
	resources, err := declare(t, parse(t, "testdata/full.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, r := range resources {
		fmt.Fprintf(&b, "%s %s\n", r.Type, r.Name)
		fmt.Fprintf(&b, "  in %s\n", short(r.Parent))
		for _, need := range r.DependsOn {
			fmt.Fprintf(&b, "  after %s\n", short(need))
		}
		if r.Retain {
			fmt.Fprintln(&b, "  kept when it is no longer declared")
		}
		for _, key := range r.Inputs.StableKeys() {
			if key == "content" && r.Type == "llmhost:index:SystemdUnit" {
				continue // golden in components/inference
			}
			fmt.Fprintf(&b, "  %s = %v\n", key, r.Inputs[key].Mappable())
		}
	}
	here, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(b.String(), here, "/home/me/hosts")
	file := filepath.Join("testdata", "full.graph")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with go test -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; accept with go test -update, but never a changed name):\n%s", file, diff)
	}
}

func TestEveryResourceUsesTheHostsProvider(t *testing.T) {
	resources, err := declare(t, parse(t, "testdata/full.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	placed := 0
	for _, r := range resources {
		if !strings.HasPrefix(r.Type, "llmhost:index:") {
			continue
		}
		placed++
		if !strings.Contains(r.Provider, "pulumi:providers:llmhost::full::") {
			t.Errorf("%s %s uses the provider %q", r.Type, r.Name, r.Provider)
		}
	}
	if placed == 0 {
		t.Error("nothing was declared")
	}
}

func TestEmptyHostNeedsNothing(t *testing.T) {
	h, diags := hostfile.Parse([]byte("host \"empty\" {\n  local {}\n}\n"), "empty.hcl")
	if err := hostfile.AsError(diags); err != nil {
		t.Fatal(err)
	}
	resources, err := declare(t, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resources {
		if strings.HasPrefix(r.Type, "llmhost:index:") {
			t.Errorf("%s %s was declared for a host without anything", r.Type, r.Name)
		}
	}
}

// Without a period there is no timer, and a model can still be verified by hand.
func TestVerificationThatIsOffHasNoTimer(t *testing.T) {
	for period, timers := range map[string]int{"off": 0, "24h": 1} {
		h, diags := hostfile.Parse(fmt.Appendf(nil, `host "x" {
			local {}
			models {
				verify_every = %q
			}
			model "a" {
				source = "/home/me/a.gguf"
				sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			}
		}`, period), "x.hcl")
		if err := hostfile.AsError(diags); err != nil {
			t.Fatal(err)
		}
		resources, err := declare(t, h)
		if err != nil {
			t.Fatal(err)
		}
		units := map[string]int{}
		for _, r := range resources {
			if r.Type == "llmhost:index:SystemdUnit" {
				units[r.Inputs["name"].StringValue()]++
			}
		}
		if units["llmhost-verify.timer"] != timers || units["llmhost-verify.service"] != 1 {
			t.Errorf("verify_every = %q: the units are %v", period, units)
		}
	}
}

func TestFileSourceThatCannotBeDeployed(t *testing.T) {
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"missing": {nil, "no such file"},
		"binary":  {[]byte{0xff, 0xfe}, "isn't text"},
	} {
		t.Run(name, func(t *testing.T) {
			source := filepath.Join(t.TempDir(), "source")
			if test.content != nil {
				if err := os.WriteFile(source, test.content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			h, diags := hostfile.Parse(fmt.Appendf(nil, `host "x" {
				local {}
				file "/etc/x" { 
					source = %q
				}
			}`, source), "x.hcl")
			if err := hostfile.AsError(diags); err != nil {
				t.Fatal(err)
			}
			_, err := declare(t, h)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "x.hcl:4,") {
				t.Errorf("the error is %v; it should say %q and where", err, test.want)
			}
		})
	}
}

// short is the part of a URN that is the resource's own.
func short(urn string) string {
	u := resource.URN(urn)
	return string(u.Type()) + " " + u.Name()
}
