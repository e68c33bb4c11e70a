package provider_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blang/semver"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/cmdutil"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/engine"
	"github.com/llmhost/llmhost/internal/provider"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// ledgerFolder makes the test binary be a small pulumi, whose host's ledger is in that folder.
const ledgerFolder = "TEST_LEDGER_FOLDER"

func TestMain(m *testing.M) {
	if os.Getenv(ledgerFolder) != "" {
		os.Exit(pulumiCommand())
	}
	os.Exit(m.Run())
}

// declared is what the test's program declares: a host and files by path.
type declared struct {
	HostID, Address string
	Files           map[string]string
}

func program(ctx *pulumi.Context) error {
	raw, err := os.ReadFile(filepath.Join(ctx.RootDirectory(), "declared.json"))
	if err != nil {
		return err
	}
	var d declared
	if err := json.Unmarshal(raw, &d); err != nil {
		return err
	}
	host, err := llmhost.NewProvider(ctx, "host", &llmhost.ProviderArgs{HostId: pulumi.String(d.HostID), Address: pulumi.String(d.Address)})
	if err != nil {
		return err
	}
	for path, content := range d.Files {
		_, err := llmhost.NewFile(ctx, filepath.Base(path), &llmhost.FileArgs{
			Path: pulumi.String(path), Content: pulumi.String(content),
			Owner: pulumi.String(os.Getenv("TEST_OWNER")), Group: pulumi.String(os.Getenv("TEST_GROUP")),
		}, pulumi.Provider(host))
		if err != nil {
			return err
		}
	}
	return nil
}

// pulumiCommand runs one of Pulumi's own commands with the embedded engine.
func pulumiCommand() int {
	ctx := context.Background()
	if err := runPulumi(ctx); err != nil {
		return engine.ShowError(ctx, err, os.Stderr)
	}
	return 0
}

func runPulumi(ctx context.Context) error {
	engine.Defaults()
	cmdutil.DisableInteractive = true
	environment, err := engine.Locate(".")
	if err != nil {
		return err
	}
	if err := environment.Apply("dev", func(string, ...any) {}); err != nil {
		return err
	}
	e, err := engine.Open(ctx, environment, engine.Config{
		Program: program, PendingID: provider.PendingID, Log: os.Stderr,
		Providers: []engine.Provider{{Name: provider.Name, Version: semver.MustParse(provider.Version), New: func() p.Provider {
			return provider.New(provider.WithDialer(func(ctx context.Context, _ remote.Target) (provider.Host, error) {
				return inProcessHost(ctx, os.Getenv(ledgerFolder))
			}))
		}}},
	})
	if err != nil {
		return err
	}
	e.Use()
	if there, err := e.HasStack(ctx, "dev"); err != nil {
		return err
	} else if !there {
		if err := e.CreateStack(ctx, "dev"); err != nil {
			return err
		}
	}
	root := &cobra.Command{Use: "test", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(engine.Commands()...)
	return root.ExecuteContext(ctx)
}

// project is a Pulumi project whose host is this machine.
type project struct {
	t           *testing.T
	dir, ledger string
	env         []string
}

func newProject(t *testing.T) *project {
	t.Helper()
	home, me := t.TempDir(), mine(t, nil)
	pr := &project{t: t, dir: t.TempDir(), ledger: t.TempDir()}
	pr.env = []string{
		ledgerFolder + "=" + pr.ledger, "HOME=" + home, "XDG_CONFIG_HOME=" + filepath.Join(home, ".config"), "PATH=",
		"TEST_OWNER=" + me["owner"].StringValue(), "TEST_GROUP=" + me["group"].StringValue(),
	}
	if err := os.Mkdir(filepath.Join(pr.dir, "stacks"), 0o755); err != nil {
		t.Fatal(err)
	}
	pr.write("Pulumi.yaml", "name: provider-test\nruntime: go\nmain: ./stacks\nstackConfigDir: stacks\n")
	return pr
}

func (pr *project) write(name, content string) {
	pr.t.Helper()
	if err := os.WriteFile(filepath.Join(pr.dir, name), []byte(content), 0o600); err != nil {
		pr.t.Fatal(err)
	}
}

func (pr *project) declare(d declared) {
	pr.t.Helper()
	raw, err := json.Marshal(d)
	if err != nil {
		pr.t.Fatal(err)
	}
	pr.write("declared.json", string(raw))
}

func (pr *project) run(args ...string) string {
	pr.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		pr.t.Fatal(err)
	}
	cmd := exec.CommandContext(pr.t.Context(), exe, append(args, "-s", "dev")...)
	cmd.Dir, cmd.Env = pr.dir, pr.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		pr.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// The traps that have wiped hosts, with Pulumi's real engine: a changed address, a forced
// replacement, a renamed host.
func TestNothingIsLostWithPulumisEngine(t *testing.T) {
	pr, folder := newProject(t), t.TempDir()
	a, b := filepath.Join(folder, "a"), filepath.Join(folder, "b")
	d := declared{HostID: "desktop", Address: "10.0.0.1", Files: map[string]string{a: "one", b: "two"}}
	intact := func(when string) {
		t.Helper()
		for path, want := range d.Files {
			if have, err := os.ReadFile(path); err != nil || string(have) != want {
				t.Errorf("%s: %s holds %q (%v), want %q", when, path, have, err, want)
			}
		}
	}
	pr.declare(d)
	pr.run("up", "--yes", "--skip-preview")
	intact("after the first up")
	pr.run("preview", "--refresh", "--expect-no-changes")

	d.Address = "10.0.0.2"
	pr.declare(d)
	out := pr.run("up", "--yes", "--skip-preview")
	if !strings.Contains(out, "1 updated") || strings.Contains(out, "replaced") || strings.Contains(out, "deleted") {
		t.Errorf("a changed address is more than an update of the provider:\n%s", out)
	}
	intact("after the address changed")

	out = pr.run("up", "--yes", "--skip-preview", "--replace", "urn:pulumi:dev::provider-test::llmhost:index:File::a")
	if !strings.Contains(out, "1 replaced") {
		t.Errorf("the file was not replaced:\n%s", out)
	}
	intact("after up --replace")

	d.HostID = "workstation"
	pr.declare(d)
	out = pr.run("up", "--yes", "--skip-preview")
	if !strings.Contains(out, "replaced") {
		t.Errorf("another host's name replaces nothing:\n%s", out)
	}
	intact("after the same machine got another name")

	pr.run("preview", "--refresh", "--expect-no-changes")
	pr.run("destroy", "--yes", "--skip-preview")
	for path := range d.Files {
		wantGone(t, path)
	}
}
