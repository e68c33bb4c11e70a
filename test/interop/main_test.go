// Package interop proves that llmhost and the ordinary pulumi CLI are equals: they take turns
// on the same project and the same state, and neither finds anything to do after the other.
package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blang/semver"
	"github.com/spf13/cobra"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/cmdutil"

	p "github.com/pulumi/pulumi-go-provider"

	"github.com/llmhost/llmhost/internal/engine"
	"github.com/llmhost/llmhost/internal/provider"
	"github.com/llmhost/llmhost/test/interop/files"
)

// asCommand makes the test binary an llmhost that runs the program of package files.
const asCommand = "INTEROP_AS_COMMAND"

// tools is the folder with what is built: llmhost, pulumi, the language host and the plugin.
var tools string

const pulumiVersion = "v3.250.0" // as go.mod requires it

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(embedded())
	}
	os.Exit(runMain(m))
}

func runMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "llmhost-interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	tools = dir
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, "building what the interop tests need:", err)
		return 1
	}
	return m.Run()
}

// build compiles both command lines. The pulumi CLI has dependencies that llmhost has not, so
// it is built in a module of its own.
func build() error {
	linked := "-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=" + pulumiVersion
	for _, b := range []struct{ dir, output, pkg, ldflags string }{
		{".", "llmhost", "../../cmd/llmhost", ""},
		{".", "pulumi-resource-llmhost", "../../cmd/pulumi-resource-llmhost", ""},
		{".", "pulumi-language-go", "./langhost", ""},
		{"pulumicli", "pulumi", "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", linked},
	} {
		cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags", b.ldflags, "-o", filepath.Join(tools, b.output), b.pkg)
		cmd.Dir = b.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", b.pkg, err, out)
		}
	}
	return nil
}

// embedded is Pulumi's commands on the engine in this process.
func embedded() int {
	engine.Defaults()
	cmdutil.DisableInteractive = true
	ctx := context.Background()
	environment, err := engine.Locate(".")
	if err == nil {
		err = environment.Apply("dev", func(string, ...any) {})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	e, err := engine.Open(ctx, environment, engine.Config{
		Program: files.Run,
		Providers: []engine.Provider{{
			Name: provider.Name, Version: semver.MustParse(provider.Version), New: func() p.Provider { return provider.New() },
		}},
		PendingID: provider.PendingID, Log: os.Stderr,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	e.Use()
	root := &cobra.Command{SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(engine.Commands()...)
	if err := root.ExecuteContext(ctx); err != nil {
		return engine.ShowError(ctx, err, os.Stderr)
	}
	return 0
}

// project is a project in a module of its own, with a home of its own.
type project struct {
	t         *testing.T
	dir, home string
}

func newProject(t *testing.T, programPackage string) *project {
	t.Helper()
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	p := &project{t: t, dir: t.TempDir(), home: t.TempDir()}
	copied := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	p.write("Pulumi.yaml", copied("Pulumi.yaml"))
	p.write("go.sum", copied("go.sum"))
	p.write("go.mod", strings.Replace(copied("go.mod"), "module github.com/llmhost/llmhost\n", "module github.com/llmhost/llmhost/project\n", 1)+
		"\nrequire github.com/llmhost/llmhost v0.0.0\nreplace github.com/llmhost/llmhost => "+repository+"\n")
	main := copied("stacks/main.go")
	p.write("stacks/main.go", strings.Replace(strings.Replace(main, "github.com/llmhost/llmhost/stacks/program", programPackage, 1),
		"program.Run", filepath.Base(programPackage)+".Run", 1))
	if err := os.Mkdir(filepath.Join(p.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(tools, "pulumi-resource-llmhost"), filepath.Join(p.dir, "bin/pulumi-resource-llmhost")); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *project) write(name, content string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// environment has a home of its own; the compiler keeps its caches.
func (p *project) environment(more ...string) []string {
	p.t.Helper()
	caches, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS").Output()
	if err != nil {
		p.t.Fatal(err)
	}
	env := []string{"PATH=" + tools + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + p.home, "XDG_CONFIG_HOME=" + filepath.Join(p.home, ".config"), "NO_COLOR=1", "PULUMI_SKIP_UPDATE_CHECK=1"}
	for i, value := range strings.Split(string(caches), "\n")[:4] {
		env = append(env, []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS"}[i]+"="+value)
	}
	return append(env, more...)
}

type result struct {
	stdout, stderr string
	code           int
}

// limit ends a command that hangs. The first compilation of the program is the slowest.
const limit = 10 * time.Minute

func (p *project) exec(env []string, name string, args ...string) result {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = p.dir, env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func (p *project) must(r result, what ...string) result {
	p.t.Helper()
	if r.code != 0 {
		p.t.Fatalf("%s ended with %d:\n%s%s", strings.Join(what, " "), r.code, r.stdout, r.stderr)
	}
	return r
}

// side is one of the two command lines: llmhost's commands, or the pulumi CLI's.
type side func(args ...string) string

// llmhost runs the built llmhost.
func (p *project) llmhost(args ...string) string {
	p.t.Helper()
	return p.must(p.exec(p.environment(), filepath.Join(tools, "llmhost"), args...), append([]string{"llmhost"}, args...)...).stdout
}

// embedded runs the engine with the program of package files.
func (p *project) embedded(args ...string) string {
	p.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	return p.must(p.exec(p.environment(asCommand+"=1"), exe, args...), append([]string{"embedded"}, args...)...).stdout
}

// pulumi runs the pulumi CLI in a shell that has evaluated what `llmhost env` prints.
func (p *project) pulumi(args ...string) string {
	p.t.Helper()
	line := `vars=$(llmhost env) || exit 1; eval "$vars"; exec pulumi --non-interactive "$@"`
	return p.must(p.exec(p.environment(), "sh", append([]string{"-c", line, "pulumi"}, args...)...), append([]string{"pulumi"}, args...)...).stdout
}
