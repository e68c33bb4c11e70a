package engine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func (p *project) keys() []string {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.home, ".config/llmhost/keys/*"))
	if err != nil {
		p.t.Fatal(err)
	}
	return files
}

// The key is made on first use: private, outside the project, and no other file is left.
func TestKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A", Secret: "s3cret"})
	r := p.up()
	keys := p.keys()
	if len(keys) != 1 || !strings.Contains(r.stderr, keys[0]) {
		t.Fatalf("keys: %v\n%s", keys, r.all())
	}
	info, err := os.Stat(keys[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v (%v)", info.Mode(), err)
	}
	state, err := os.Stat(filepath.Join(p.dir, ".llmhost/state"))
	if err != nil || state.Mode().Perm() != 0o700 {
		t.Errorf("the state folder's mode is %v (%v)", state.Mode(), err)
	}
	for name, content := range p.stateFiles() {
		if strings.Contains(content, "s3cret") {
			t.Errorf("%s has a secret in clear", name)
		}
	}
	p.up()
	if now := p.keys(); len(now) != 1 {
		t.Errorf("the second run made another key: %v", now)
	}
}

// A passphrase that the user sets wins, and then there is no key of ours.
func TestOwnPassphraseWins(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A", Secret: "s3cret"})
	p.env = append(p.env, "PULUMI_CONFIG_PASSPHRASE=mine")
	p.up()
	if keys := p.keys(); len(keys) != 0 {
		t.Errorf("a key was made although the user has a passphrase: %v", keys)
	}
	p.env[len(p.env)-1] = "PULUMI_CONFIG_PASSPHRASE=not mine"
	if r := p.run("config", "set", "-s", "dev", "--secret", "k", "v"); r.code == 0 || !strings.Contains(r.stderr, "does not open this stack's secrets") {
		t.Errorf("a wrong passphrase: %d\n%s", r.code, r.all())
	}
}

// A backend that the user chooses is used and healed, too.
func TestOwnBackend(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
	elsewhere := filepath.Join(p.home, "else where")
	if err := os.Mkdir(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	p.env = append(p.env, "PULUMI_BACKEND_URL=file://"+elsewhere)
	p.killed("late", "a", upArgs...)
	if r := p.up(); !strings.Contains(r.stderr, "broke the lock") {
		t.Errorf("the lock was not broken:\n%s", r.all())
	}
	if _, err := os.Stat(filepath.Join(elsewhere, ".pulumi/stacks/engine-test/dev.json")); err != nil {
		t.Errorf("the state is not where it should be: %v", err)
	}
	if _, err := os.Stat(filepath.Join(p.dir, ".llmhost")); err == nil {
		t.Errorf("there is a state in the project, too")
	}
}

// A moved project finds its key again.
func TestMovedProjectKeepsItsKey(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A", Secret: "s3cret"})
	p.up()
	moved := filepath.Join(filepath.Dir(p.dir), "moved to #1 (50%)")
	if err := os.Rename(p.dir, moved); err != nil {
		t.Fatal(err)
	}
	p.dir = moved
	p.wantNothingToDo()
	if keys := p.keys(); len(keys) != 2 {
		t.Errorf("keys: %v", keys)
	}
}

// A state without its key is not answered by a new key, but by an error that names both places.
func TestLostKey(t *testing.T) {
	for name, compression := range map[string]string{"plain": "", "compressed": "PULUMI_DIY_BACKEND_ZSTD=true"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testLostKey(t, compression)
		})
	}
}

func testLostKey(t *testing.T, compression string) {
	p := newProject(t, note{Name: "a", Path: "a", Text: "A", Secret: "s3cret"})
	if compression != "" {
		p.env = append(p.env, compression)
	}
	p.up()
	// The stack's settings show the key, too, and aren't needed for that.
	settings := filepath.Join(p.dir, "stacks", "Pulumi.dev.yaml")
	if err := os.Rename(settings, settings+".aside"); err != nil {
		t.Fatal(err)
	}
	key := p.keys()[0]
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	r := p.run(upArgs...)
	for _, part := range []string{".llmhost/state", key, "llmhost restore"} {
		if r.code == 0 || !strings.Contains(r.stderr, part) {
			t.Errorf("up without the key ended with %d and does not say %q:\n%s", r.code, part, r.all())
		}
	}
	if err := os.Rename(settings+".aside", settings); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = p.run(upArgs...)
	for _, part := range []string{".llmhost/state", key, "llmhost restore"} {
		if r.code == 0 || !strings.Contains(r.stderr, part) {
			t.Errorf("up with a wrong key ended with %d and does not say %q:\n%s", r.code, part, r.all())
		}
	}
}
