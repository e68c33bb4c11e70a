package remote_test

import (
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
		h.Cut = func(t *testing.T) {
			if err := s.Stop(); err != nil { // with every session that it has
				t.Error(err)
			}
		}
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

// endProcesses kills the processes whose program lies in a folder of this test.
func endProcesses(t *testing.T, dir string) {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	ended := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(filepath.Base(e))
		if err != nil {
			continue
		}
		if program, err := os.Readlink(filepath.Join(e, "exe")); err == nil && within(dir, program) {
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				ended++
			}
		}
	}
	if ended == 0 {
		t.Fatalf("no program of %s is running", dir)
	}
}

func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && path != "" && filepath.IsLocal(rel)
}
