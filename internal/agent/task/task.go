// Package task runs programs that work on a host for minutes, such as a package manager.
//
// It exists because the agent ends with its connection: a package manager that is cut off halfway
// leaves a host that can't install anything until somebody repairs it. systemd runs the program
// as a unit of its own, which goes on, and which can be given a sandbox like any other.
package task

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// Task is a program to run. Nothing of it passes a shell.
type Task struct {
	Unit        string // the unit's name without .service
	Description string
	Argv        []string
	Environment []string // NAME=VALUE; no secret, since a unit shows it
	Properties  []string // of the unit: NAME=VALUE as in a unit file
}

const (
	// logs is where tasks write to. A pipe would end them with whoever reads it.
	logs = "/run/llmhost-tasks"

	// keptLines is how much of what a program says is kept for an error: its last lines.
	keptLines = 12

	// look is how often a task is looked at.
	look = 300 * time.Millisecond
)

// Failed is the end of a program that has failed.
type Failed struct {
	Task string
	Said []string // its last lines
}

func (f *Failed) Error() string {
	if len(f.Said) == 0 {
		return f.Task + " has failed and said nothing"
	}
	return f.Task + " has failed: " + strings.Join(f.Said, "\n")
}

// Run runs a task to its end and gives each line that it prints to say. When ctx ends, the caller
// no longer waits, and the task goes on.
func (t Task) Run(ctx context.Context, say func(line string)) error {
	if _, err := exec.LookPath("systemd-run"); err != nil {
		return fault.New(agentpb.Reason_NO_SYSTEMD, "the program systemd-run is missing on the host").With("tool", "systemd-run")
	}
	if err := t.alone(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return err
	}
	log := filepath.Join(logs, t.Unit+".log")
	if err := os.Remove(log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	defer os.Remove(logs) // the last one's
	defer os.Remove(log)
	cmd := exec.CommandContext(ctx, "systemd-run", t.arguments(log)...)
	cmd.Env = environment
	var refused bytes.Buffer
	cmd.Stderr = &refused
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	follow := follower{path: log, say: say}
	for {
		select {
		case err := <-ended:
			follow.read()
			if err == nil || ctx.Err() != nil {
				return ctx.Err()
			}
			if len(follow.last) == 0 {
				follow.last = []string{strings.TrimSpace(refused.String())}
			}
			return &Failed{Task: t.Description, Said: follow.last}
		case <-time.After(look):
			follow.read()
		}
	}
}

var environment = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}

// End ends a task of the same name that an agent which is gone has started.
func (t Task) End(ctx context.Context) {
	_ = systemctl(ctx, "stop", t.Unit+".service") // mostly there is none
}

// alone waits for the end of a task of the same name. Who has started it is gone: an agent holds a
// lock while it waits for its own.
func (t Task) alone(ctx context.Context) error {
	unit := t.Unit + ".service"
	for systemctl(ctx, "is-active", unit) == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
	}
	return nil
}

func systemctl(ctx context.Context, verb, unit string) error {
	cmd := exec.CommandContext(ctx, "systemctl", verb, "--quiet", "--", unit)
	cmd.Env = environment
	return cmd.Run()
}

func (t Task) arguments(log string) []string {
	args := []string{
		"--quiet", "--wait", "--collect", "--service-type=exec", "--unit=" + t.Unit, "--description=" + t.Description,
		"--property=StandardOutput=file:" + log, "--property=StandardError=file:" + log,
	}
	for _, p := range t.Properties {
		args = append(args, "--property="+p)
	}
	for _, e := range t.Environment {
		args = append(args, "--setenv="+e)
	}
	return append(append(args, "--"), t.Argv...)
}

// follower reads the lines of a file that grows.
type follower struct {
	path string
	say  func(string)
	at   int64
	part string   // of a line
	last []string // lines
}

// mostRead bounds one look at a file, in bytes; the rest is read by the next.
const mostRead = 256 << 10

func (f *follower) read() {
	file, err := os.Open(f.path)
	if err != nil {
		return // nothing was said yet
	}
	defer file.Close()
	buf := make([]byte, mostRead)
	n, _ := file.ReadAt(buf, f.at)
	f.at += int64(n)
	lines := strings.Split(f.part+strings.ReplaceAll(string(buf[:n]), "\r", "\n"), "\n")
	f.part = lines[len(lines)-1]
	for _, line := range lines[:len(lines)-1] {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if f.last = append(f.last, line); len(f.last) > keptLines {
			f.last = slices.Delete(f.last, 0, 1)
		}
		f.say(line)
	}
}
