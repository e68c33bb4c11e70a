// Package e2e proves llmhost on a real host: a VM with its own kernel, systemd and sshd,
// driven by the built command as a user would. Nothing here reads llmhost's internals: what
// a unit promises is read from /proc and from systemd, and what a deployment leaves behind
// from the file system.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/lab"
	"github.com/llmhost/llmhost/internal/testmodel"
)

// The host that most tests share, and the binaries under test.
var (
	vm    *lab.VM
	bin   string // folder with llmhost and pulumi-resource-llmhost
	model struct {
		path, sha256 string
		size         int64
	}
)

// commandLimit ends a command that hangs; emulated machines are slow, so it is generous.
const commandLimit = 8 * time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runMain(m))
}

func runMain(m *testing.M) int {
	work, err := os.MkdirTemp("", "llmhost-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(work)
	if err := setUp(work); err != nil {
		fmt.Fprintln(os.Stderr, "setting up the end-to-end tests:", err)
		return 1
	}
	defer func() {
		if err := vm.Down(); err != nil {
			fmt.Fprintln(os.Stderr, "removing the VM:", err)
		}
	}()
	return m.Run()
}

func setUp(work string) error {
	bin = filepath.Join(work, "bin")
	for _, command := range []string{"llmhost", "pulumi-resource-llmhost"} {
		build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(bin, command), "../../cmd/"+command)
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", command, err, out)
		}
	}
	// The commands under test have a home of their own, and build the agent with these caches.
	for _, cache := range []string{"GOCACHE", "GOMODCACHE"} {
		out, err := exec.Command("go", "env", cache).Output()
		if err != nil {
			return fmt.Errorf("go env %s: %w", cache, err)
		}
		os.Setenv(cache, strings.TrimSpace(string(out)))
	}
	model.path = filepath.Join(work, "tiny.gguf")
	var err error
	model.sha256, model.size, err = testmodel.WriteFile(model.path, testmodel.Spec{Name: "tiny", Reply: testmodel.DefaultReply})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	vm, err = lab.Up(ctx, lab.Options{Name: "e2e", Dir: filepath.Join(work, "vm"), Log: os.Stderr})
	return err
}

// project is a folder as a user has it: Pulumi.yaml, hosts/, stacks/, and a home of its own.
type project struct {
	t    *testing.T
	dir  string
	home string
	env  []string
}

// newProject makes an empty project with the stack's host file in it.
func newProject(t *testing.T) *project {
	t.Helper()
	p := &project{t: t, dir: t.TempDir(), home: t.TempDir()}
	yaml, err := os.ReadFile("../../Pulumi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p.write("Pulumi.yaml", string(yaml))
	p.write("stacks/.keep", "")
	p.write("hosts/.keep", "")
	return p
}

func (p *project) write(name, content string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// host writes hosts/NAME.hcl for the shared VM; blocks come after its ssh block.
func (p *project) host(name, blocks string) { p.hostAt(name, vm.Address, vm.Port, blocks) }

func (p *project) hostAt(name, address string, port int, blocks string) {
	p.write("hosts/"+name+".hcl", fmt.Sprintf(`host %q {
  timezone = "Europe/Berlin"
  ssh {
    address     = %q
    port        = %d
    user        = "ops"
    identity    = %q
    known_hosts = %q
  }
%s
}
`, name, address, port, vm.IdentityFile, vm.KnownHostsFile, blocks))
}

// modelServer is a complete server: engine, model and a sandboxed unit on a Unix socket.
func modelServer(name string) string {
	return fmt.Sprintf(`
  engine "llama.cpp" {
    source = %q
    sha256 = %q
  }
  model "tiny" {
    source = %q
    sha256 = %q
  }
  server %q {
    engine  = "llama.cpp"
    model   = "tiny"
    memory  = "1GiB"
    threads = 1
    context = 1024
  }`, vm.EngineArchive, vm.EngineSHA256, model.path, model.sha256, name)
}

type result struct {
	stdout, stderr string
	code           int
}

func (r result) all() string { return r.stdout + r.stderr }

func (p *project) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "llmhost"), args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "HOME="+p.home, "XDG_CONFIG_HOME="+filepath.Join(p.home, ".config"),
		"NO_COLOR=1", "SSH_AUTH_SOCK=", "PULUMI_CONFIG_PASSPHRASE=", "PULUMI_CONFIG_PASSPHRASE_FILE=")
	cmd.Env = dropEmpty(append(cmd.Env, p.env...))
	return cmd
}

// dropEmpty removes variables that are set to nothing, so that a test unsets by "NAME=".
func dropEmpty(env []string) []string {
	last := map[string]string{}
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		last[k] = v
	}
	var out []string
	for k, v := range last {
		if v != "" {
			out = append(out, k+"="+v)
		}
	}
	return out
}

// run runs llmhost and returns what it printed and its exit code.
func (p *project) run(args ...string) result {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := p.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := result{stdout: stdout.String(), stderr: stderr.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		p.t.Fatalf("llmhost %s: %v", strings.Join(args, " "), err)
	}
	if ctx.Err() != nil {
		p.t.Fatalf("llmhost %s did not end within %s:\n%s", strings.Join(args, " "), commandLimit, r.all())
	}
	return r
}

// must runs llmhost and fails the test unless it ends with 0.
func (p *project) must(args ...string) result {
	p.t.Helper()
	r := p.run(args...)
	if r.code != 0 {
		p.t.Fatalf("llmhost %s ended with %d:\n%s", strings.Join(args, " "), r.code, r.all())
	}
	return r
}

func (p *project) up(stack string, more ...string) result {
	p.t.Helper()
	return p.must(append([]string{"up", "-s", stack, "--yes", "--skip-preview", "--non-interactive"}, more...)...)
}

// destroyAtEnd leaves the shared VM clean for the next test.
func (p *project) destroyAtEnd(stack string) {
	p.t.Cleanup(func() {
		if r := p.run("destroy", "-s", stack, "--yes", "--skip-preview", "--non-interactive"); r.code != 0 {
			p.t.Errorf("destroy ended with %d:\n%s", r.code, r.all())
		}
	})
}

// finding is one entry of `llmhost drift --json`.
type finding struct {
	Type     string `json:"type"`
	Name     string `json:"name"`
	ID       string `json:"id"`
	Kind     string `json:"kind"`
	Property string `json:"property"`
	Want     any    `json:"want"`
	Have     any    `json:"have"`
}

func (p *project) drift(stack string) []finding {
	p.t.Helper()
	r := p.run("drift", "-s", stack, "--json")
	if r.code != 0 && r.code != 2 {
		p.t.Fatalf("drift could not tell (exit code %d):\n%s", r.code, r.all())
	}
	var report struct {
		Drifted  bool      `json:"drifted"`
		Findings []finding `json:"findings"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		p.t.Fatalf("drift --json: %v\n%s", err, r.all())
	}
	if report.Drifted != (len(report.Findings) > 0) || report.Drifted != (r.code == 2) {
		p.t.Fatalf("drifted=%v, %d findings and exit code %d disagree:\n%s", report.Drifted, len(report.Findings), r.code, r.stdout)
	}
	return report.Findings
}

func (p *project) noDrift(stack string) {
	p.t.Helper()
	if found := p.drift(stack); len(found) > 0 {
		p.t.Fatalf("nothing was touched, and drift reports %+v", found)
	}
}

var summary = regexp.MustCompile(`(?m)^\s+[-+~]+ (\d+) `)

// unchanged fails unless an up did nothing at all.
func unchanged(t *testing.T, r result) {
	t.Helper()
	if summary.MatchString(r.stdout) {
		t.Fatalf("an up of what is there already changed something:\n%s", r.stdout)
	}
	if !strings.Contains(r.stdout, "unchanged") {
		t.Fatalf("an up of what is there already does not say so:\n%s", r.all())
	}
}

// on runs a shell line on the VM as root and returns its standard output.
func on(t *testing.T, line string) string {
	t.Helper()
	out, err := tryOn(line)
	if err != nil {
		t.Fatalf("on the host: %s: %v\n%s", line, err, out)
	}
	return strings.TrimSpace(out)
}

func tryOn(line string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := vm.SSH(ctx, "root", line)
	return string(out), err
}

// settled fails unless the host comes to have the given footprint: the agent ends a moment
// after its connection.
func settled(t *testing.T, want string) {
	t.Helper()
	var have string
	for range 10 {
		if have = on(t, footprint); have == want {
			return
		}
		time.Sleep(time.Second)
	}
	t.Errorf("something was left on the host or taken from it:\n%s", lineDiff(want, have))
}

// absent fails if a path exists on the host.
func absent(t *testing.T, path string) {
	t.Helper()
	if _, err := tryOn("test ! -e " + path); err != nil {
		t.Errorf("%s should not be on the host", path)
	}
}

func long() bool { return os.Getenv("LLMHOST_TEST_LONG") != "" }
