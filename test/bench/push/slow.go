package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
)

// slowTable is what was measured over a slow link.
type slowTable struct {
	Size uint64     `json:"size"` // bytes
	Link string     `json:"link"`
	Rows []*slowRow `json:"rows"`
}

type slowRow struct {
	What    string  `json:"what"`
	LLMHost float64 `json:"llmhost"` // seconds
	Rsync   float64 `json:"rsync"`
}

var slowSteps = []string{"new", "cut halfway, the rest", "header grown by 4 KiB"}

// slow measures both ways at the same time, each over a link of its own: it is the links that
// are busy, and not this machine.
func slow(ctx context.Context, o *options, work string) (*slowTable, error) {
	fmt.Fprintf(o.out, "\nSlow link: %s; %s of random bytes, one run\n\n", linkText, humanize.Bytes(o.slowSize))
	t := &slowTable{Size: o.slowSize, Link: linkText}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var took [2][]float64
	var both sync.WaitGroup
	for i, way := range []string{"llmhost", "rsync"} {
		both.Go(func() {
			var err error
			if took[i], err = slowWay(ctx, o, filepath.Join(work, "slow", way), way); err != nil {
				cancel(fmt.Errorf("%s over a slow link: %w", way, err))
			}
		})
	}
	both.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	fmt.Fprintln(o.out, "| | llmhost, s | rsync, s |\n|---|--:|--:|")
	for i, what := range slowSteps {
		t.Rows = append(t.Rows, &slowRow{what, took[0][i], took[1][i]})
		fmt.Fprintf(o.out, "| %s | %.1f | %.1f |\n", what, took[0][i], took[1][i])
	}
	return t, nil
}

func slowWay(ctx context.Context, o *options, work, way string) (took []float64, err error) {
	defer os.RemoveAll(work)
	b := &bench{options: o, work: work, size: o.slowSize, model: filepath.Join(work, "here", "model.gguf"), there: filepath.Join(work, "there")}
	for _, dir := range []string{filepath.Dir(b.model), b.there, filepath.Join(work, "home")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	l, err := newLink(ctx, way, o.seed)
	if err != nil {
		return nil, err
	}
	defer l.close()
	if b.far, err = startFar(ctx, []string{"ip", "netns", "exec", l.far}, filepath.Join(work, "sshd"), filepath.Join(work, "home"), farIP); err != nil {
		return nil, err
	}
	defer b.far.stop()
	b.host = b.far.place
	if b.pin, err = writeRandom(b.model, b.size, b.seed); err != nil {
		return nil, err
	}
	send := func(...string) command { return l.inside(b.push(b.host, b.model, "--sha256", b.pin)) }
	if way == "rsync" {
		shell := strings.Join(append([]string{"ssh"}, b.host.options()...), " ")
		send = func(flags ...string) command {
			return l.inside(command{args: slices.Concat([]string{"rsync", "-e", shell}, flags, []string{b.model, b.host.login() + ":" + b.target()})})
		}
	} else { // puts the agent there
		small := filepath.Join(work, "here", "small.gguf")
		if err := os.WriteFile(small, []byte("GGUF"), 0o644); err != nil {
			return nil, err
		}
		if _, err := timed(ctx, l.inside(b.push(b.host, small))); err != nil {
			return nil, err
		}
	}
	for i, step := range []struct {
		prepare func() error
		flags   []string // of rsync
	}{
		{b.clear, []string{"--whole-file"}},
		{func() error { // both are cut when half is there, and the second attempt is timed
			if err := b.clear(); err != nil {
				return err
			}
			return b.cutHalfway(ctx, send("--partial", "--append-verify"))
		}, []string{"--partial", "--append-verify"}},
		{func() error {
			if err := b.clear(); err != nil {
				return err
			}
			return copyFrom(b.target(), b.model, 4096)
		}, []string{"--no-whole-file", "--ignore-times"}},
	} {
		if err := step.prepare(); err != nil {
			return nil, err
		}
		seconds, err := timed(ctx, send(step.flags...))
		if err == nil {
			err = sameContent(b.model, b.target())
		}
		if err != nil {
			return nil, err
		}
		took = append(took, seconds)
		fmt.Fprintf(os.Stderr, "%s, %s: %.1f s\n", way, slowSteps[i], seconds)
	}
	return took, nil
}

// cutHalfway kills a transfer when half of the model is on the host.
func (b *bench) cutHalfway(ctx context.Context, c command) error {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // rsync's ssh is a child
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("it ended (%v) before it was cut: %s", err, stderr.Bytes())
		case <-time.After(50 * time.Millisecond):
		}
		if b.arrived() >= b.size/2 {
			err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) // as Ctrl-C does, so that rsync keeps its part
			<-ended
			return err
		}
	}
}

// arrived is how much the host's folder occupies.
func (b *bench) arrived() (n uint64) {
	_ = filepath.WalkDir(b.there, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // it was renamed meanwhile
		}
		var stat syscall.Stat_t
		if syscall.Lstat(path, &stat) == nil {
			n += uint64(stat.Blocks) * 512
		}
		return nil
	})
	return n
}

func timed(ctx context.Context, c command) (float64, error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, errors.Join(fmt.Errorf("%s: %w", strings.Join(c.args, " "), err), errors.New(string(out)))
	}
	return time.Since(start).Seconds(), nil
}
