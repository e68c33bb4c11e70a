package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sample is one run of one way.
type sample struct {
	Seconds   float64 `json:"seconds"`
	ClientCPU float64 `json:"clientCPU"` // seconds, of the process and of what it waited for
	HostCPU   float64 `json:"hostCPU"`   // seconds, of sshd's sessions and of what they ran
	ClientMB  float64 `json:"clientMB"`  // most memory that was resident
	OwnMB     float64 `json:"ownMB"`     // of it, what isn't pages of the program's file
	AgentMB   float64 `json:"agentMB"`   // resident, of one agent; 0 when there was none
	Output    []byte  `json:"-"`
}

// command is a program and its environment beside this one's.
type command struct {
	args []string
	env  []string
}

// measure runs a program to its end.
func (f *far) measure(ctx context.Context, c command) (*sample, error) {
	before, err := f.sessionsCPU(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	peaks := make(chan sample)
	go func() { peaks <- watch(ended, cmd.Process.Pid, f.runner) }()
	err = cmd.Wait()
	took := time.Since(start)
	close(ended)
	s := <-peaks
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", strings.Join(c.args, " "), err, out.Bytes(), stderr.Bytes())
	}
	after, err := f.sessionsCPU(ctx)
	if err != nil {
		return nil, err
	}
	s.Seconds, s.HostCPU, s.Output = took.Seconds(), after-before, out.Bytes()
	s.ClientCPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return &s, nil
}

// watch looks at the memory of a program and of the agents until it has ended. The kernel keeps
// the peak, so that only what an agent does in its last moment is missed.
func watch(ended <-chan struct{}, client, runner int) (s sample) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		s.ClientMB = max(s.ClientMB, statusMB(client, "VmHWM"))
		s.OwnMB = max(s.OwnMB, statusMB(client, "RssAnon"))
		for _, pid := range descendants(runner) {
			if program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && strings.Contains(filepath.Base(program), "llmhost-agent") {
				s.AgentMB = max(s.AgentMB, statusMB(pid, "VmHWM"))
			}
		}
		select {
		case <-ended:
			return s
		case <-ticker.C:
		}
	}
}

// statusMB is a size of proc_pid_status(5), in MB. VmHWM is the most memory that a process has
// had resident.
func statusMB(pid int, size string) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "\n"+size+":")
	var kib float64
	fmt.Sscan(rest, &kib)
	return kib * 1024 / 1e6
}

func descendants(pid int) (all []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is valid
	for _, list := range lists {
		content, _ := os.ReadFile(list)
		for field := range strings.FieldsSeq(string(content)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}

// sessionsCPU is the CPU time of all sessions that a server has had, in seconds. It waits until
// none is left, since the kernel counts what has ended.
func (f *far) sessionsCPU(ctx context.Context) (float64, error) {
	for deadline := time.Now().Add(30 * time.Second); len(descendants(f.runner)) > 1; { // sshd itself
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("sessions of sshd don't end: processes %v", descendants(f.sshd))
		}
		time.Sleep(10 * time.Millisecond)
	}
	sessions, err := childrenCPU(f.sshd)
	if err != nil {
		return 0, err
	}
	orphans, err := childrenCPU(f.runner)
	return sessions + orphans, err
}

// childrenCPU is the CPU time of the children that a process has waited for, in seconds.
func childrenCPU(pid int) (float64, error) {
	const ticks = 100 // of a second: USER_HZ, the same on all of Linux
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err := strconv.ParseFloat(fields[13], 64) // cutime and cstime of proc(5)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[14], 64)
	return (user + system) / ticks, err
}

// place is where a host is reached, and with what.
type place struct {
	address string
	port    int
	user    string
	key     string
	known   string // known_hosts file
}

// options are those of ssh, scp and sftp.
func (p place) options() []string {
	return []string{"-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityFile=" + p.key,
		"-o", "UserKnownHostsFile=" + p.known, "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "Port=" + strconv.Itoa(p.port)}
}

func (p place) login() string { return p.user + "@" + p.address }
