package remote_test

import (
	"bytes"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/remote/remotetest"
)

func TestLocalConnection(t *testing.T) {
	remotetest.Run(t, func(t *testing.T) remotetest.Host {
		return ownMachine(t, remote.Target{HostID: "local", Local: true, StateDir: t.TempDir()})
	})
}

func TestSSHConnection(t *testing.T) {
	remotetest.Run(t, func(t *testing.T) remotetest.Host {
		s := startSSHD(t)
		h := ownMachine(t, s.target(t))
		h.Cut = func(t *testing.T) { endProcesses(t, s.dir) }
		return h
	})
}

// ownMachine is a host that is this machine, used as this user.
func ownMachine(t *testing.T, target remote.Target) remotetest.Host {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return remotetest.Host{
		Target: target, Options: options(), Dir: t.TempDir(), Owner: me.Username, Group: group.Name,
		Write: remotetest.LocalWrite,
		Kill:  func(t *testing.T) { endProcesses(t, target.StateDir) },
	}
}

// endProcesses kills the processes whose program or configuration lies in a folder of this
// test, and for an SSH server those that it has started.
func endProcesses(t *testing.T, dir string) {
	t.Helper()
	ours := map[int]bool{}
	parents := map[int]int{}
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(filepath.Base(e))
		if err != nil {
			continue
		}
		program, _ := os.Readlink(filepath.Join(e, "exe"))
		words, _ := os.ReadFile(filepath.Join(e, "cmdline"))
		stat, _ := os.ReadFile(filepath.Join(e, "stat"))
		if _, rest, ok := bytes.Cut(stat, []byte(") ")); ok {
			if fields := bytes.Fields(rest); len(fields) > 1 {
				parents[pid], _ = strconv.Atoi(string(fields[1]))
			}
		}
		if pid != os.Getpid() && (within(dir, program) || bytes.Contains(words, []byte(dir+"/sshd_config"))) {
			ours[pid] = true
		}
	}
	for again := true; again; {
		again = false
		for pid, parent := range parents {
			if ours[parent] && !ours[pid] {
				ours[pid], again = true, true
			}
		}
	}
	if len(ours) == 0 {
		t.Fatalf("no process of %s is running", dir)
	}
	for pid := range ours {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && path != "" && filepath.IsLocal(rel)
}
