package engine_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/internal/engine"
)

// environment is the project's, as the command sees it.
func (p *project) environment() engine.Environment {
	p.t.Helper()
	p.t.Setenv("HOME", p.home)
	p.t.Setenv("XDG_CONFIG_HOME", filepath.Join(p.home, ".config"))
	e, err := engine.Locate(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	return e
}

// State and key come back from a backup after both are lost, and are as good as before.
func TestRestoreAfterLosingBoth(t *testing.T) {
	p := newProject(t, note{Name: "a", Path: "a", Text: "A", Secret: "s3cret"})
	p.up()
	e := p.environment()
	file := filepath.Join(t.TempDir(), "backup.age")
	if err := e.Backup(file, "correct horse"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(e.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup's mode is %v (%v)", info.Mode(), err)
	}
	if bytes.Contains(raw, bytes.TrimSpace(key)) || bytes.Contains(raw, []byte("test:index:Note")) {
		t.Error("the backup is not encrypted")
	}
	before := p.stateFiles()
	for _, lost := range []string{filepath.Join(p.dir, ".llmhost"), e.KeyFile} {
		if err := os.RemoveAll(lost); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Restore(file, "wrong", false); err == nil || !strings.Contains(err.Error(), "wrong passphrase") {
		t.Errorf("a wrong passphrase: %v", err)
	}
	kept, err := e.Restore(file, "correct horse", false)
	if err != nil || len(kept) != 0 {
		t.Fatalf("restore: %v, kept %v", err, kept)
	}
	if diff := cmp.Diff(before, p.stateFiles()); diff != "" {
		t.Errorf("the restored state differs:\n%s", diff)
	}
	p.wantNothingToDo()
	if _, err := e.Restore(file, "correct horse", false); err != nil {
		t.Errorf("restoring what is there already: %v", err)
	}
}

// A different state is only replaced by force, and is kept then.
func TestRestoreKeepsADifferentState(t *testing.T) {
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
	p.up()
	e := p.environment()
	file := filepath.Join(t.TempDir(), "backup.age")
	if err := e.Backup(file, "p"); err != nil {
		t.Fatal(err)
	}
	p.declare(note{Name: "a", Path: "a", Text: "B"})
	p.up()
	newer := p.stateFiles()
	if _, err := e.Restore(file, "p", false); !errors.Is(err, engine.ErrDifferent) {
		t.Errorf("restore over a different state: %v", err)
	}
	if diff := cmp.Diff(newer, p.stateFiles()); diff != "" {
		t.Errorf("a refused restore changed the state:\n%s", diff)
	}
	kept, err := e.Restore(file, "p", true)
	if err != nil || len(kept) != 1 {
		t.Fatalf("restore by force: %v, kept %v", err, kept)
	}
	if _, err := os.Stat(filepath.Join(kept[0], ".pulumi/stacks/engine-test/dev.json")); err != nil {
		t.Errorf("the old state was not kept: %v", err)
	}
	r := p.must("preview", "-s", "dev", "--diff")
	if !strings.Contains(r.stdout, `"A" => "B"`) {
		t.Errorf("the old state is not in use again:\n%s", r.all())
	}
}

// Pulumi can be told to compress the state, which is as much of a state.
func TestRestoreKeepsACompressedState(t *testing.T) {
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
	p.env = append(p.env, "PULUMI_DIY_BACKEND_GZIP=true")
	p.up()
	e := p.environment()
	file := filepath.Join(t.TempDir(), "backup.age")
	if err := e.Backup(file, "p"); err != nil {
		t.Fatal(err)
	}
	p.declare(note{Name: "a", Path: "a", Text: "B"})
	p.up()
	if _, ok := p.stateFiles()["/state/.pulumi/stacks/engine-test/dev.json.gz"]; !ok {
		t.Fatal("the state is not compressed")
	}
	if _, err := e.Restore(file, "p", false); !errors.Is(err, engine.ErrDifferent) {
		t.Errorf("restore over a different state: %v", err)
	}
}

// What is left of a stack that was removed may be all that is left of it.
func TestRestoreKeepsTheCopiesOfARemovedStack(t *testing.T) {
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
	p.up()
	e := p.environment()
	file := filepath.Join(t.TempDir(), "backup.age")
	if err := e.Backup(file, "p"); err != nil {
		t.Fatal(err)
	}
	p.must("stack", "rm", "-s", "dev", "--yes", "--force")
	left := p.stateFiles()
	kept, err := e.Restore(file, "p", false)
	if err != nil || len(kept) != 1 {
		t.Fatalf("restore: %v, kept %v", err, kept)
	}
	for name, content := range left {
		if now, err := os.ReadFile(filepath.Join(kept[0], strings.TrimPrefix(name, "/state"))); err != nil || string(now) != content {
			t.Errorf("%s was not kept: %v", name, err)
		}
	}
}

// A damaged backup changes nothing.
func TestRestoreOfADamagedBackup(t *testing.T) {
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
	p.up()
	e := p.environment()
	file := filepath.Join(t.TempDir(), "backup.age")
	if err := e.Backup(file, "p"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-20] ^= 1
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	before := p.stateFiles()
	if _, err := e.Restore(file, "p", true); err == nil {
		t.Error("a damaged backup was restored")
	}
	if diff := cmp.Diff(before, p.stateFiles()); diff != "" {
		t.Errorf("a damaged backup changed the state:\n%s", diff)
	}
}
