package engine_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var upArgs = []string{"up", "-s", "dev", "--yes", "--skip-preview"}

// A killed create heals in the next up, whether the host got it or not.
func TestUpAfterKilledCreate(t *testing.T) {
	for _, when := range []string{"early", "late"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, note{Name: "a", Path: "a", Text: "A"}, note{Name: "b", Path: "b", Text: "B", Secret: "s3cret"})
			p.killed(when, "b", upArgs...)
			if notes, pending := p.state(); pending == 0 {
				t.Fatalf("the kill came too late to prove anything: %v", notes)
			}
			r := p.up()
			if !strings.Contains(r.stderr, "broke the lock") || !strings.Contains(r.stderr, "Note b: was being created") {
				t.Errorf("the healing is not explained:\n%s", r.all())
			}
			if strings.Contains(r.all(), "pending operations") {
				t.Errorf("Pulumi still warns about pending operations:\n%s", r.all())
			}
			p.wantHealthy([]string{"a a", "b b"}, map[string]string{"a": "A", "b": "B\n!s3cret"})
			p.wantNothingToDo()
		})
	}
}

// A destroy right after a kill orphans nothing.
func TestDestroyAfterKilledCreate(t *testing.T) {
	for _, when := range []string{"early", "late"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
			p.killed(when, "a", upArgs...)
			p.destroy()
			p.wantHealthy(nil, map[string]string{})
		})
	}
}

// A killed update is finished by the next up.
func TestUpAfterKilledUpdate(t *testing.T) {
	for _, when := range []string{"early", "late"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, note{Name: "a", Path: "a", Text: "old"})
			p.up()
			p.declare(note{Name: "a", Path: "a", Text: "new"})
			p.killed(when, "a", upArgs...)
			p.up()
			p.wantHealthy([]string{"a a"}, map[string]string{"a": "new"})
			p.wantNothingToDo()
		})
	}
}

// A killed delete is finished by the next up.
func TestUpAfterKilledDelete(t *testing.T) {
	for _, when := range []string{"early", "late"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, note{Name: "a", Path: "a", Text: "A"}, note{Name: "b", Path: "b", Text: "B"})
			p.up()
			p.declare(note{Name: "a", Path: "a", Text: "A"})
			p.killed(when, "b", upArgs...)
			p.up()
			p.wantHealthy([]string{"a a"}, map[string]string{"a": "A"})
			p.wantNothingToDo()
		})
	}
}

// A replacement that was killed after the new one was made, and before the old one was removed;
// or, if the old one goes first, after it is gone.
func TestKilledReplacement(t *testing.T) {
	for name, deleteFirst := range map[string]bool{"create first": false, "delete first": true} {
		replace := func(t *testing.T) *project {
			t.Parallel()
			p := newProject(t, note{Name: "a", Path: "old", Text: "A", DeleteFirst: deleteFirst})
			p.up()
			p.declare(note{Name: "a", Path: "new", Text: "A", DeleteFirst: deleteFirst})
			p.killed("late", "new", upArgs...)
			return p
		}
		t.Run(name+", then up", func(t *testing.T) {
			p := replace(t)
			p.up()
			p.wantHealthy([]string{"a new"}, map[string]string{"new": "A"})
			p.wantNothingToDo()
		})
		t.Run(name+", then destroy", func(t *testing.T) {
			p := replace(t)
			p.destroy()
			p.wantHealthy(nil, map[string]string{})
		})
	}
}

// A replacement with the same natural key, killed after the new one was made.
func TestKilledReplacementOfTheSameKey(t *testing.T) {
	for name, deleteFirst := range map[string]bool{"create first": false, "delete first": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, note{Name: "a", Path: "a", Text: "old", DeleteFirst: deleteFirst})
			p.up()
			p.declare(note{Name: "a", Path: "a", Text: "new", DeleteFirst: deleteFirst})
			p.killed("late", "a", append(upArgs, "--replace", "urn:pulumi:dev::engine-test::test:index:Note::a")...)
			p.up()
			p.wantHealthy([]string{"a a"}, map[string]string{"a": "new"})
			p.wantNothingToDo()
		})
	}
}

// A kill in the middle of the healing only makes the next run heal again.
func TestKilledHealing(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"}, note{Name: "b", Path: "b", Text: "B"})
	p.killed("late", "b", upArgs...)
	p.killed("read", "b", upArgs...)
	p.killed("read", "b", "destroy", "-s", "dev", "--yes", "--skip-preview")
	p.up()
	p.wantHealthy([]string{"a a", "b b"}, map[string]string{"a": "A", "b": "B"})
	p.wantNothingToDo()
}

// What can't be found out stays pending until it can.
func TestHealingNeedsTheHost(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
	p.killed("late", "a", upArgs...)
	p.steer("unreachable")
	for range 2 {
		r := p.run(upArgs...)
		if r.code == 0 || !strings.Contains(r.all(), "cannot reach the test host") {
			t.Errorf("up ended with %d and does not say that the host can't be reached:\n%s", r.code, r.all())
		}
		if _, pending := p.state(); pending != 1 {
			t.Errorf("%d operations are pending while the host can't be reached, want 1", pending)
		}
	}
	p.release("unreachable")
	p.destroy()
	p.wantHealthy(nil, map[string]string{})
}

// A preview changes nothing, even where there is something to heal.
func TestPreviewWritesNothing(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
	p.killed("early", "a", upArgs...)
	before := p.stateFiles()
	p.must("preview", "-s", "dev")
	p.must("refresh", "-s", "dev", "--preview-only")
	if diff := cmp.Diff(before, p.stateFiles()); diff != "" {
		t.Errorf("a preview changed the state:\n%s", diff)
	}
	if log := p.log(); log[0] != "" {
		t.Errorf("a preview changed the host: %v", log)
	}
}

// A lock is never broken unless its process is certainly dead, and the refusal says who holds it.
func TestLocks(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	const dead = 4194304 // above the kernel's limit for a pid
	other := exec.Command("sleep", "600")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	})
	for name, c := range map[string]struct {
		lock   map[string]any
		broken bool
	}{
		"a dead process of ours":                  {map[string]any{"pid": dead, "username": me.Username, "hostname": hostname, "timestamp": "2026-01-02T03:04:05Z"}, true},
		"a pid that was given to another process": {map[string]any{"pid": other.Process.Pid, "username": me.Username, "hostname": hostname, "timestamp": "2001-01-02T03:04:05Z"}, true},
		// It looks younger than its lock. This test is the same program as the command.
		"a live process, and a clock set forward": {map[string]any{"pid": os.Getpid(), "username": me.Username, "hostname": hostname, "timestamp": "2001-01-02T03:04:05Z"}, false},
		"a live process":  {map[string]any{"pid": os.Getpid(), "username": me.Username, "hostname": hostname, "timestamp": "2099-01-02T03:04:05Z"}, false},
		"another machine": {map[string]any{"pid": dead, "username": me.Username, "hostname": "elsewhere", "timestamp": "2026-01-02T03:04:05Z"}, false},
		"another user":    {map[string]any{"pid": dead, "username": "somebody", "hostname": hostname, "timestamp": "2026-01-02T03:04:05Z"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
			p.must("stack", "-s", "dev")
			dir := filepath.Join(p.dir, ".llmhost/state/.pulumi/locks/organization/engine-test/dev")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			raw, err := json.Marshal(c.lock)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "4d1a.json"), raw, 0o600); err != nil {
				t.Fatal(err)
			}
			r := p.run(upArgs...)
			if c.broken {
				if r.code != 0 || p.locks() != 0 || !strings.Contains(r.stderr, "broke the lock") {
					t.Errorf("up ended with %d, %d locks are left:\n%s", r.code, p.locks(), r.all())
				}
				return
			}
			holder := fmt.Sprintf("%s@%s, pid %d", c.lock["username"], c.lock["hostname"], c.lock["pid"])
			if r.code == 0 || !strings.Contains(r.stderr, holder) || !strings.Contains(r.stderr, "llmhost cancel -s dev") {
				t.Errorf("up ended with %d and does not name the holder (%s) and the way on:\n%s", r.code, holder, r.all())
			}
			p.must("cancel", "-s", "dev", "--yes")
			p.up()
		})
	}
}

// wantHealthy checks state and host, and that neither locks nor pending operations are left.
func (p *project) wantHealthy(wantState []string, wantHost map[string]string) {
	p.t.Helper()
	notes, pending := p.state()
	if diff := cmp.Diff(wantState, notes); diff != "" {
		p.t.Errorf("state (-want +have):\n%s", diff)
	}
	if pending != 0 || p.locks() != 0 {
		p.t.Errorf("%d pending operations and %d locks are left", pending, p.locks())
	}
	if diff := cmp.Diff(wantHost, p.onHost()); diff != "" {
		p.t.Errorf("host (-want +have):\n%s", diff)
	}
}

// wantNothingToDo checks that state and host agree with what is declared.
func (p *project) wantNothingToDo() {
	p.t.Helper()
	p.must("preview", "-s", "dev", "--refresh", "--expect-no-changes")
}

// stateFiles is every file of the state with its content.
func (p *project) stateFiles() map[string]string {
	p.t.Helper()
	files := map[string]string{}
	root := filepath.Join(p.dir, ".llmhost")
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, root)] = string(raw)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return files
}

// What is on a host is recorded there under the stack's name, so a stack that has something
// there keeps its name.
func TestRenameOfADeployedStackIsRefused(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
	p.up()
	r := p.run("stack", "rename", "other", "-s", "dev")
	if r.code == 0 || !strings.Contains(r.stderr, "can't be renamed") {
		t.Errorf("renaming ended with %d:\n%s", r.code, r.all())
	}
	p.wantNothingToDo()
	p.destroy()
	p.must("stack", "rename", "other", "-s", "dev")
}
