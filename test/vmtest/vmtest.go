// Package vmtest is what end-to-end tests share: a host that is a VM with its own kernel, systemd
// and sshd, and the built command in a project as a user has it.
//
// It exists so that the tests of several packages tell their stories in the same words, each
// package with a VM of its own.
package vmtest

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
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/lab"
	"github.com/llmhost/llmhost/internal/testmodel"
)

var (
	// VM is the host that the tests of a package share.
	VM *lab.VM
	// Bin is the folder with llmhost and pulumi-resource-llmhost, the programs under test.
	Bin string
	// Model is a tiny model on this machine.
	Model ModelFile
)

// ModelFile is a model on this machine.
type ModelFile struct {
	Path, SHA256 string
	Size         int64
}

// CommandLimit ends a command that hangs; emulated machines are slow, so it is generous.
const CommandLimit = 8 * time.Minute

// Main runs a package's tests with a VM of the given name. It is all of the package's TestMain,
// which ends with the exit code that it returns.
func Main(m *testing.M, name string) int {
	flag.Parse()
	work, err := os.MkdirTemp("", "llmhost-"+name+"-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(work)
	if err := setUp(work, name); err != nil {
		fmt.Fprintln(os.Stderr, "setting up the end-to-end tests:", err)
		return 1
	}
	defer func() {
		if err := VM.Down(); err != nil {
			fmt.Fprintln(os.Stderr, "removing the VM:", err)
		}
	}()
	return m.Run()
}

func setUp(work, name string) error {
	Bin = filepath.Join(work, "bin")
	for _, command := range []string{"llmhost", "pulumi-resource-llmhost"} {
		build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(Bin, command), "github.com/llmhost/llmhost/cmd/"+command)
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
	Model.Path = filepath.Join(work, "tiny.gguf")
	var err error
	Model.SHA256, Model.Size, err = testmodel.WriteFile(Model.Path, testmodel.Spec{Name: "tiny", Reply: testmodel.DefaultReply})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	VM, err = lab.Up(ctx, lab.Options{Name: name, Dir: filepath.Join(work, "vm"), Log: os.Stderr})
	return err
}

// Project is a folder as a user has it: Pulumi.yaml, hosts/, stacks/, and a home of its own.
type Project struct {
	T    *testing.T
	Dir  string
	Home string
	Env  []string // more variables for its commands; "NAME=" unsets one
}

// NewProject makes an empty project.
func NewProject(t *testing.T) *Project {
	t.Helper()
	p := &Project{T: t, Dir: t.TempDir(), Home: t.TempDir()}
	yaml, err := os.ReadFile(filepath.Join(repository(), "Pulumi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p.Write("Pulumi.yaml", string(yaml))
	p.Write("stacks/.keep", "")
	p.Write("hosts/.keep", "")
	return p
}

func (p *Project) Write(name, content string) {
	p.T.Helper()
	path := filepath.Join(p.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.T.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		p.T.Fatal(err)
	}
}

// Host writes hosts/NAME.hcl for the shared VM; blocks come after its ssh block.
func (p *Project) Host(name, blocks string) { p.HostAt(name, VM.Address, VM.Port, blocks) }

func (p *Project) HostAt(name, address string, port int, blocks string) {
	p.Write("hosts/"+name+".hcl", fmt.Sprintf(`host %q {
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
`, name, address, port, VM.IdentityFile, VM.KnownHostsFile, blocks))
}

// ModelServer is a complete server: engine, model and a sandboxed unit on a Unix socket.
func ModelServer(name string) string {
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
  }`, VM.EngineArchive, VM.EngineSHA256, Model.Path, Model.SHA256, name)
}

// Result is what a command printed, and its exit code.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// All is everything that the command printed.
func (r Result) All() string { return r.Stdout + r.Stderr }

func (p *Project) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(Bin, "llmhost"), args...)
	cmd.Dir = p.Dir
	cmd.Env = append(os.Environ(), "HOME="+p.Home, "XDG_CONFIG_HOME="+filepath.Join(p.Home, ".config"),
		"NO_COLOR=1", "SSH_AUTH_SOCK=", "PULUMI_CONFIG_PASSPHRASE=", "PULUMI_CONFIG_PASSPHRASE_FILE=")
	cmd.Env = dropEmpty(append(cmd.Env, p.Env...))
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

// Run runs llmhost and returns what it printed and its exit code.
func (p *Project) Run(args ...string) Result {
	p.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), CommandLimit)
	defer cancel()
	cmd := p.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := Result{Stdout: stdout.String(), Stderr: stderr.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
	case err != nil:
		p.T.Fatalf("llmhost %s: %v", strings.Join(args, " "), err)
	}
	if ctx.Err() != nil {
		p.T.Fatalf("llmhost %s did not end within %s:\n%s", strings.Join(args, " "), CommandLimit, r.All())
	}
	return r
}

// Must runs llmhost and fails the test unless it ends with 0.
func (p *Project) Must(args ...string) Result {
	p.T.Helper()
	r := p.Run(args...)
	if r.Code != 0 {
		p.T.Fatalf("llmhost %s ended with %d:\n%s", strings.Join(args, " "), r.Code, r.All())
	}
	return r
}

func (p *Project) Up(stack string, more ...string) Result {
	p.T.Helper()
	return p.Must(append([]string{"up", "-s", stack, "--yes", "--skip-preview", "--non-interactive"}, more...)...)
}

// DestroyAtEnd leaves the shared VM clean for the next test.
func (p *Project) DestroyAtEnd(stack string) {
	p.T.Cleanup(func() {
		if r := p.Run("destroy", "-s", stack, "--yes", "--skip-preview", "--non-interactive"); r.Code != 0 {
			p.T.Errorf("destroy ended with %d:\n%s", r.Code, r.All())
		}
	})
}

// Finding is one entry of `llmhost drift --json`.
type Finding struct {
	Type     string `json:"type"`
	Name     string `json:"name"`
	ID       string `json:"id"`
	Kind     string `json:"kind"`
	Property string `json:"property"`
	Want     any    `json:"want"`
	Have     any    `json:"have"`
}

func (p *Project) Drift(stack string) []Finding {
	p.T.Helper()
	r := p.Run("drift", "-s", stack, "--json")
	if r.Code != 0 && r.Code != 2 {
		p.T.Fatalf("drift could not tell (exit code %d):\n%s", r.Code, r.All())
	}
	var report struct {
		Drifted  bool      `json:"drifted"`
		Findings []Finding `json:"findings"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
		p.T.Fatalf("drift --json: %v\n%s", err, r.All())
	}
	if report.Drifted != (len(report.Findings) > 0) || report.Drifted != (r.Code == 2) {
		p.T.Fatalf("drifted=%v, %d findings and exit code %d disagree:\n%s", report.Drifted, len(report.Findings), r.Code, r.Stdout)
	}
	return report.Findings
}

func (p *Project) NoDrift(stack string) {
	p.T.Helper()
	if found := p.Drift(stack); len(found) > 0 {
		p.T.Fatalf("nothing was touched, and drift reports %+v", found)
	}
}

var summary = regexp.MustCompile(`(?m)^\s+[-+~]+ (\d+) `)

// Unchanged fails unless an up did nothing at all.
func Unchanged(t *testing.T, r Result) {
	t.Helper()
	if summary.MatchString(r.Stdout) {
		t.Fatalf("an up of what is there already changed something:\n%s", r.Stdout)
	}
	if !strings.Contains(r.Stdout, "unchanged") {
		t.Fatalf("an up of what is there already does not say so:\n%s", r.All())
	}
}

// On runs a shell line on the VM as root and returns its standard output.
func On(t *testing.T, line string) string {
	t.Helper()
	out, err := TryOn(line)
	if err != nil {
		t.Fatalf("on the host: %s: %v\n%s", line, err, out)
	}
	return strings.TrimSpace(out)
}

func TryOn(line string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := VM.SSH(ctx, "root", line)
	return string(out), err
}

// Settled fails unless the host comes to have the given footprint: the agent ends a moment
// after its connection.
func Settled(t *testing.T, want string) {
	t.Helper()
	var have string
	for range 10 {
		if have = On(t, Footprint); have == want {
			return
		}
		time.Sleep(time.Second)
	}
	t.Errorf("something was left on the host or taken from it:\n%s", LineDiff(want, have))
}

// Absent fails if a path exists on the host.
func Absent(t *testing.T, path string) {
	t.Helper()
	if _, err := TryOn("test ! -e " + path); err != nil {
		t.Errorf("%s should not be on the host", path)
	}
}

func Long() bool { return os.Getenv("LLMHOST_TEST_LONG") != "" }

// Footprint is everything on the host that a deployment could leave behind.
const Footprint = `{ find /etc /opt /srv /usr/local /var/lib/llmhost /run/llmhost /run/systemd/system /run/systemd/system.control \
	-not -path '/etc/.pwd.lock' -not -path '/etc/*-' -printf '%p %y %m %u %g\n' 2>/dev/null | sort
	cut -d: -f1 /etc/passwd /etc/group; ls /var/lib/systemd/timers/stamp-llmhost* 2>/dev/null; systemctl list-unit-files --no-legend --plain 'llmhost*'; systemctl list-units --all --no-legend --plain 'llmhost*'; }`

// lineDiff lists the lines that only one of two texts has.
func LineDiff(before, after string) string {
	seen := map[string]int{}
	for _, l := range strings.Split(before, "\n") {
		seen[l]++
	}
	var b strings.Builder
	for _, l := range strings.Split(after, "\n") {
		if seen[l]--; seen[l] < 0 {
			fmt.Fprintf(&b, "+ %s\n", l)
		}
	}
	for l, n := range seen {
		for ; n > 0; n-- {
			fmt.Fprintf(&b, "- %s\n", l)
		}
	}
	return b.String()
}

// repository is the folder of the module whose programs are tested.
func repository() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}
