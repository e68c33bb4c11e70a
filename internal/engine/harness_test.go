package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/blang/semver"
	"github.com/spf13/cobra"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/cmdutil"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/internal/drift"
	"github.com/llmhost/llmhost/internal/engine"
)

// asCommand makes the test binary be a small llmhost, so that tests can kill it.
const asCommand = "TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(command())
	}
	os.Exit(m.Run())
}

// command is a command line with the engine's commands, drift, deployed, and nothing else.
func command() int {
	engine.Defaults()
	cmdutil.DisableInteractive = true
	if err := cmdutil.SetGlobalColorization("never"); err != nil {
		return 99
	}
	ctx := context.Background()
	environment, err := engine.Locate(".")
	if err == nil {
		err = environment.Apply("dev", func(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	e, err := engine.Open(ctx, environment, engine.Config{
		Program:   testProgram,
		Providers: []engine.Provider{{Name: "test", Version: semver.MustParse("1.0.0"), New: testProvider}},
		PendingID: testPendingID,
		Log:       os.Stderr,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 97
	}
	e.Use()
	if there, err := e.HasStack(ctx, "dev"); err == nil && !there {
		err = e.CreateStack(ctx, "dev")
		if err != nil {
			return engine.ShowError(ctx, environment.WrongKey(err), os.Stderr)
		}
	}
	root := &cobra.Command{Use: "test", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(engine.Commands()...)
	root.AddCommand(&cobra.Command{Use: "drift", RunE: func(*cobra.Command, []string) error {
		found, err := e.Observe(ctx, "dev")
		if err != nil {
			return err
		}
		return drift.New("dev", "test", time.Unix(0, 0), found).WriteJSON(os.Stdout)
	}})
	root.AddCommand(&cobra.Command{Use: "deployed", RunE: func(*cobra.Command, []string) error {
		all, err := e.Deployed(ctx, "dev")
		for _, r := range all {
			fmt.Println(r.Type, r.Name, r.ID)
		}
		return err
	}})
	if err := root.ExecuteContext(ctx); err != nil {
		return engine.ShowError(ctx, environment.WrongKey(err), os.Stderr)
	}
	return 0
}

// note is a resource of the test program, which declares what notes.json lists.
type note struct {
	Name, Path, Text, Secret string
	Parts                    map[string]string
	DeleteFirst              bool // when it is replaced
}

func testProgram(ctx *pulumi.Context) error {
	raw, err := os.ReadFile(filepath.Join(ctx.RootDirectory(), "notes.json"))
	if err != nil {
		return err
	}
	var notes []note
	if err := json.Unmarshal(raw, &notes); err != nil {
		return err
	}
	for _, n := range notes {
		props := pulumi.Map{"path": pulumi.String(n.Path), "text": pulumi.String(n.Text)}
		if n.Secret != "" {
			props["secret"] = pulumi.ToSecret(pulumi.String(n.Secret))
		}
		if n.Parts != nil {
			props["parts"] = pulumi.ToStringMap(n.Parts)
		}
		var r pulumi.CustomResourceState
		if err := ctx.RegisterResource("test:index:Note", n.Name, props, &r, pulumi.DeleteBeforeReplace(n.DeleteFirst)); err != nil {
			return err
		}
	}
	return nil
}

// decode is the inverse of the provider's encode.
func decode(path, raw string) NoteArgs {
	a := NoteArgs{Path: path}
	for i, line := range strings.Split(raw, "\n") {
		switch {
		case i > 0 && strings.HasPrefix(line, "@"):
			k, v, _ := strings.Cut(line[1:], "=")
			if a.Parts == nil {
				a.Parts = map[string]string{}
			}
			a.Parts[k] = v
		case i > 0 && strings.HasPrefix(line, "!"):
			secret := line[1:]
			a.Secret = &secret
		case i > 0:
			a.Text += "\n" + line
		default:
			a.Text = line
		}
	}
	return a
}

// project is a project folder, a home and a host, and a way to run commands on them.
type project struct {
	t               *testing.T
	dir, home, host string
	env             []string
}

func newProject(t *testing.T, notes ...note) *project {
	t.Helper()
	p := &project{t: t, dir: filepath.Join(t.TempDir(), "project"), home: t.TempDir(), host: t.TempDir()}
	for _, dir := range []string{filepath.Join(p.dir, "stacks"), filepath.Join(p.host, "root")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.write("Pulumi.yaml", "name: engine-test\nruntime: go\nmain: ./stacks\nstackConfigDir: stacks\nplugins:\n  providers:\n    - name: test\n      path: ./not-there\n")
	p.declare(notes...)
	return p
}

func (p *project) write(name, content string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// declare replaces what the program declares.
func (p *project) declare(notes ...note) {
	p.t.Helper()
	raw, err := json.Marshal(notes)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("notes.json", string(raw))
}

// steer makes a file that steers the provider; release removes it.
func (p *project) steer(name string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.host, name), nil, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) release(name string) {
	p.t.Helper()
	if err := os.Remove(filepath.Join(p.host, name)); err != nil {
		p.t.Fatal(err)
	}
}

type result struct {
	stdout, stderr string
	code           int
}

func (r result) all() string { return r.stdout + r.stderr }

// running is a command in the background.
type running struct {
	cmd            *exec.Cmd
	stdout, stderr output
	done           chan struct{}
}

// output is a buffer that can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) { o.mu.Lock(); defer o.mu.Unlock(); return o.b.Write(p) }
func (o *output) String() string              { o.mu.Lock(); defer o.mu.Unlock(); return o.b.String() }

// poll is how long to wait before looking again at what another process does.
func poll() <-chan time.Time { return time.After(5 * time.Millisecond) }

// limit ends a command that hangs, so that its test fails instead of waiting for ever.
const limit = 2 * time.Minute

func (p *project) start(args ...string) *running {
	p.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	r := &running{cmd: exec.Command(exe, args...), done: make(chan struct{})}
	r.cmd.Dir = p.dir
	r.cmd.Env = append([]string{asCommand + "=1", hostFolder + "=" + p.host, "HOME=" + p.home,
		"XDG_CONFIG_HOME=" + filepath.Join(p.home, ".config"), "PATH="}, p.env...)
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	timer := time.AfterFunc(limit, func() { _ = r.cmd.Process.Kill() })
	go func() { _ = r.cmd.Wait(); timer.Stop(); close(r.done) }()
	p.t.Cleanup(func() { _ = r.cmd.Process.Kill(); <-r.done })
	return r
}

func (r *running) wait() result {
	<-r.done
	return result{r.stdout.String(), r.stderr.String(), r.cmd.ProcessState.ExitCode()}
}

func (r *running) signal(s syscall.Signal) { _ = r.cmd.Process.Signal(s) }

func (p *project) run(args ...string) result { p.t.Helper(); return p.start(args...).wait() }

func (p *project) must(args ...string) result {
	p.t.Helper()
	r := p.run(args...)
	if r.code != 0 {
		p.t.Fatalf("%s ended with %d:\n%s", strings.Join(args, " "), r.code, r.all())
	}
	return r
}

func (p *project) up() result {
	p.t.Helper()
	return p.must("up", "-s", "dev", "--yes", "--skip-preview")
}

func (p *project) destroy() result {
	p.t.Helper()
	return p.must("destroy", "-s", "dev", "--yes", "--skip-preview")
}

// waitFor waits until the provider says that it waits on a path.
func (p *project) waitFor(r *running, path string) {
	p.t.Helper()
	name := filepath.Join(p.host, "waiting-"+path)
	for {
		if _, err := os.Stat(name); err == nil {
			return
		}
		select {
		case <-r.done:
			p.t.Fatalf("it ended before it got to %s:\n%s", path, r.wait().all())
		case <-poll():
		}
	}
}

// killed runs a command and kills it with SIGKILL where the provider is held.
func (p *project) killed(hold, path string, args ...string) {
	p.t.Helper()
	p.steer("hold-" + hold + "-" + path)
	r := p.start(args...)
	p.waitFor(r, path)
	r.signal(syscall.SIGKILL)
	r.wait()
	p.release("hold-" + hold + "-" + path)
	p.release("waiting-" + path)
}

// onHost lists what the host has: path and content.
func (p *project) onHost() map[string]string {
	p.t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(p.host, "root"))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(p.host, "root", e.Name()))
		if err != nil {
			p.t.Fatal(err)
		}
		files[e.Name()] = string(raw)
	}
	return files
}

// log lists what the provider did to the host.
func (p *project) log() []string {
	p.t.Helper()
	raw, err := os.ReadFile(filepath.Join(p.host, "log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		p.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(raw)), "\n")
}

// state lists the resources that the state has, as "name id", and how many operations are pending.
func (p *project) state() (notes []string, pending int) {
	p.t.Helper()
	raw, err := os.ReadFile(filepath.Join(p.dir, ".llmhost/state/.pulumi/stacks/engine-test/dev.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	var s struct {
		Checkpoint struct {
			Latest struct {
				Resources []struct {
					URN, Type, ID string
					Delete        bool
				}
				Pending []any `json:"pending_operations"`
			}
		}
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		p.t.Fatal(err)
	}
	for _, r := range s.Checkpoint.Latest.Resources {
		if r.Type != "test:index:Note" {
			continue
		}
		line := r.URN[strings.LastIndex(r.URN, "::")+2:] + " " + r.ID
		if r.Delete {
			line += " (to be deleted)"
		}
		notes = append(notes, line)
	}
	sort.Strings(notes)
	return notes, len(s.Checkpoint.Latest.Pending)
}

// locks counts the locks in the state.
func (p *project) locks() int {
	found, _ := filepath.Glob(filepath.Join(p.dir, ".llmhost/state/.pulumi/locks/*/*/*/*.json"))
	return len(found)
}
