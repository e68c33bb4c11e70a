// Command push measures how fast a model reaches a host, beside scp, rsync, sftp and a bare SSH
// channel, all in one run on one machine, and prints the tables of docs/performance.md.
//
// The host is this machine, through a real sshd on loopback, with files in memory: what is
// measured is the programs and not a disk. Every way is a whole process from start to exit, and
// the ways take turns, so that a busy minute hits all of them. What it places is in one
// temporary folder.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"

	"github.com/llmhost/llmhost/internal/remote/agentbin"
)

type options struct {
	only  []string
	sizes []uint64

	slowSize uint64 // of the model that goes over a slow link

	runs   int
	bin    string // the llmhost program
	agents string // folder of the agent that it sends
	dir    string // where files are placed: in memory
	json   bool
	seed   uint64

	out io.Writer
}

func (o *options) wants(part string) bool { return slices.Contains(o.only, part) }

var parts = []string{"loopback", "slow", "unchanged"}

func main() {
	if len(os.Args) > 1 && os.Args[1] == rawCommand {
		exit(rawChannel(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == sshdCommand {
		exit(runSSHD(os.Args[2], os.Args[3], os.Args[4], os.Args[5]))
	}
	o := options{out: os.Stdout}
	only := flag.String("only", strings.Join(parts, ","), "parts to run")
	sizes := flag.String("sizes", "64MB,2GB,4.5GB", "sizes of the model")
	slowSize := flag.String("slow-size", "64MB", "size of the model that goes over a slow link")
	flag.IntVar(&o.runs, "runs", 3, "runs of each way; of models over 4 GB one")
	flag.StringVar(&o.bin, "bin", "bin/llmhost", "the llmhost program to measure")
	flag.StringVar(&o.dir, "dir", "/dev/shm", "folder in memory for the files; the largest model needs three times its size there")
	flag.BoolVar(&o.json, "json", false, "print one JSON object instead of tables")
	flag.Uint64Var(&o.seed, "seed", 1, "of the bytes and of the places where connections are cut")
	flag.Parse()
	exit(o.parse(*only, *sizes, *slowSize))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, &o)
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if len(os.Args) > 1 && (os.Args[1] == rawCommand || os.Args[1] == sshdCommand) {
		os.Exit(0)
	}
}

func (o *options) parse(only, sizes, slowSize string) error {
	for part := range strings.SplitSeq(only, ",") {
		if !slices.Contains(parts, part) {
			return fmt.Errorf("-only: there is no part %q; parts are %s", part, strings.Join(parts, ", "))
		}
		o.only = append(o.only, part)
	}
	for text := range strings.SplitSeq(sizes, ",") {
		size, err := parseSize("-sizes", text)
		if err != nil {
			return err
		}
		o.sizes = append(o.sizes, size)
	}
	var err error
	if o.slowSize, err = parseSize("-slow-size", slowSize); err != nil {
		return err
	}
	if o.runs < 1 {
		return errors.New("-runs: at least one")
	}
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	if _, err := os.Stat(bin); err != nil {
		return fmt.Errorf("%w (make build first)", err)
	}
	o.bin = bin
	return nil
}

func parseSize(flag, text string) (uint64, error) {
	size, err := humanize.ParseBytes(text)
	if err != nil || size == 0 {
		return 0, fmt.Errorf("%s: %q is no size, such as 64MB", flag, text)
	}
	return size, nil
}

// report is all that was measured.
type report struct {
	Load     string       `json:"load"` // of the machine before the run: /proc/loadavg
	Loopback []*sizeTable `json:"loopback,omitempty"`
	Slow     *slowTable   `json:"slow,omitempty"`
	Kept     *keptTable   `json:"unchanged,omitempty"`
	Targets  []target     `json:"targets"`
}

// target is a figure that is to be reached.
type target struct {
	What   string  `json:"what"`
	Figure float64 `json:"figure"`
	Bound  float64 `json:"bound"`
	Least  bool    `json:"least"` // the bound is the least allowed figure, else the most
	Unit   string  `json:"unit"`
}

func (t target) met() bool {
	if t.Least {
		return t.Figure >= t.Bound
	}
	return t.Figure <= t.Bound
}

func run(ctx context.Context, o *options) error {
	if os.Geteuid() != 0 {
		return errors.New("run as root: the host is this machine, and network namespaces need it too")
	}
	for _, tool := range []struct{ name, from string }{
		{"scp", "openssh-client"}, {"sftp", "openssh-client"}, {"ssh", "openssh-client"}, {"sha256sum", "coreutils"}, {"dd", "coreutils"},
		{"rsync", "rsync"}, {"ip", "iproute2"},
	} {
		if _, err := exec.LookPath(tool.name); err != nil {
			return fmt.Errorf("%s is missing: make test-deps, or apt-get install %s", tool.name, tool.from)
		}
	}
	work, err := os.MkdirTemp(o.dir, "llmhost-bench-push-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if o.agents, err = buildAgent(ctx, filepath.Join(work, "agents")); err != nil {
		return err
	}
	if o.json {
		o.out = io.Discard
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	r := &report{Load: strings.TrimSpace(string(load))}
	fmt.Fprintf(o.out, "load before: %s\n", r.Load)
	if o.wants("loopback") {
		if r.Loopback, err = loopback(ctx, o, work); err != nil {
			return err
		}
		for _, t := range r.Loopback {
			r.Targets = append(r.Targets, t.targets()...)
		}
	}
	if o.wants("unchanged") {
		if r.Kept, err = keep(ctx, o, work); err != nil {
			return err
		}
	}
	if o.wants("slow") {
		if r.Slow, err = slow(ctx, o, work); err != nil {
			return err
		}
	}
	if o.json {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	if len(r.Targets) > 0 {
		printTargets(o.out, r.Targets)
	}
	return nil
}

// buildAgent builds the agent, so that an llmhost of a checkout sends one that is ready, as a
// release does, and doesn't look each time whether it has to be built.
func buildAgent(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", filepath.Join(dir, agentbin.FileName(runtime.GOARCH)), "./cmd/llmhost-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the agent: %w\n%s", err, out)
	}
	return dir, nil
}

func printTargets(w io.Writer, targets []target) {
	fmt.Fprintln(w, "\n| target | measured | aim | |\n|---|--:|--:|---|")
	for _, t := range targets {
		aim, mark := "at most ", "met"
		if t.Least {
			aim = "at least "
		}
		if !t.met() {
			mark = "**missed**"
		}
		fmt.Fprintf(w, "| %s | %.3g%s | %s%.3g%s | %s |\n", t.What, t.Figure, t.Unit, aim, t.Bound, t.Unit, mark)
	}
}
