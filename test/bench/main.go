// Command bench measures llmhost as a user meets it, whole processes from start to exit, and
// prints the tables of docs/performance.md.
//
// The host is this machine, reached through a real sshd on loopback, so that what is measured
// is llmhost and not an emulated machine. It must run as root, because the agent does; what it
// places is below /tmp/llmhost-bench and is destroyed at the end.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/lab"
)

func main() {
	runs := flag.Int("runs", 5, "runs of each command")
	counts := flag.String("resources", "10,200", "how many small resources")
	flag.Parse()
	if err := run(*runs, strings.Split(*counts, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(runs int, counts []string) error {
	if os.Geteuid() != 0 {
		return errors.New("run as root: the host is this machine, and the agent needs root there")
	}
	work, err := os.MkdirTemp("", "llmhost-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	sshd, err := lab.StartSSHD(ctx, filepath.Join(work, "sshd"), lab.SSHDOptions{})
	if err != nil {
		return err
	}
	defer sshd.Stop()
	bin, err := filepath.Abs("bin")
	if err != nil {
		return err
	}
	if err := sizes(bin); err != nil {
		return err
	}
	fmt.Printf("\n%d runs each, seconds of the whole process: minimum / median / maximum\n\n", runs)
	fmt.Println("| command | resources | min | median | max | calls to the agent |\n|---|--:|--:|--:|--:|--:|")
	for _, n := range counts {
		var count int
		if _, err := fmt.Sscan(n, &count); err != nil {
			return fmt.Errorf("-resources: %q is not a number", n)
		}
		b := &bench{ctx: ctx, dir: filepath.Join(work, "project-"+n), bin: filepath.Join(bin, "llmhost"), count: count}
		if err := b.project(sshd); err != nil {
			return err
		}
		if err := b.measure(runs); err != nil {
			return err
		}
	}
	return nil
}

func sizes(bin string) error {
	fmt.Println("| binary | MB |\n|---|--:|")
	for _, name := range []string{"llmhost", "pulumi-resource-llmhost"} {
		info, err := os.Stat(filepath.Join(bin, name))
		if err != nil {
			return fmt.Errorf("%w (make build first)", err)
		}
		fmt.Printf("| %s | %.1f |\n", name, float64(info.Size())/1e6)
	}
	tmp, err := os.MkdirTemp("", "agent-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, arch := range []string{"amd64", "arm64"} {
		out := filepath.Join(tmp, arch)
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, "./cmd/llmhost-agent")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if msg, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building the agent: %w\n%s", err, msg)
		}
		info, err := os.Stat(out)
		if err != nil {
			return err
		}
		fmt.Printf("| llmhost-agent, %s | %.1f |\n", arch, float64(info.Size())/1e6)
	}
	return nil
}

type bench struct {
	ctx   context.Context
	dir   string
	bin   string
	count int
}

// project writes a host with count small files.
func (b *bench) project(sshd *lab.SSHD) error {
	yaml, err := os.ReadFile("Pulumi.yaml")
	if err != nil {
		return err
	}
	var host strings.Builder
	fmt.Fprintf(&host, "host \"bench\" {\n  ssh {\n    address     = %q\n    port        = %d\n    user        = %q\n    identity    = %q\n    known_hosts = %q\n  }\n",
		sshd.Address, sshd.Port, sshd.User, sshd.IdentityFile, sshd.KnownHostsFile)
	for i := range b.count {
		fmt.Fprintf(&host, "  file \"/tmp/llmhost-bench/f%03d.conf\" {\n    content = \"setting = %d\\n\"\n  }\n", i, i)
	}
	host.WriteString("}\n")
	for name, content := range map[string]string{"Pulumi.yaml": string(yaml), "hosts/bench.hcl": host.String(), "stacks/.keep": ""} {
		path := filepath.Join(b.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measure(runs int) error {
	apply := []string{"--yes", "--skip-preview", "--non-interactive"}
	type row struct {
		name   string
		args   []string
		before []string // undoes the last run, not timed
	}
	rows := []row{
		{"first up", append([]string{"up", "-s", "bench"}, apply...), append([]string{"destroy", "-s", "bench"}, apply...)},
		{"up with nothing to do", append([]string{"up", "-s", "bench"}, apply...), nil},
		{"preview", []string{"preview", "-s", "bench", "--non-interactive"}, nil},
		{"drift, nothing changed", []string{"drift", "-s", "bench", "--json"}, nil},
	}
	// One round that nobody times puts the agent on the host and makes the stack.
	if _, err := b.once(rows[0].args); err != nil {
		return err
	}
	defer func() { _, _ = b.once(append([]string{"destroy", "-s", "bench"}, apply...)) }()
	for _, r := range rows {
		var took []float64
		calls := "—"
		for range runs {
			if r.before != nil {
				if _, err := b.once(r.before); err != nil {
					return err
				}
			}
			start := time.Now()
			out, err := b.once(r.args)
			if err != nil {
				return err
			}
			took = append(took, time.Since(start).Seconds())
			var report struct {
				RoundTrips int `json:"roundTrips"`
			}
			if json.Unmarshal(out, &report) == nil && report.RoundTrips > 0 {
				calls = fmt.Sprint(report.RoundTrips)
			}
		}
		slices.Sort(took)
		fmt.Printf("| %s | %d | %.2f | %.2f | %.2f | %s |\n", r.name, b.count, took[0], took[len(took)/2], took[len(took)-1], calls)
	}
	return nil
}

// once runs llmhost in the project with a home of its own.
func (b *bench) once(args []string) ([]byte, error) {
	cmd := exec.CommandContext(b.ctx, b.bin, args...)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(b.dir, ".config"), "NO_COLOR=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("llmhost %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return out, nil
}
