package engine_test

import (
	"strings"
	"syscall"
	"testing"
)

// The first ^C cancels what the provider is doing and ends in order: no lock, nothing pending,
// and what was done is in the state.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
	p.up()
	p.declare(note{Name: "a", Path: "a", Text: "A"}, note{Name: "b", Path: "b", Text: "B"})
	p.steer("hold-early-b")
	r := p.start(upArgs...)
	p.waitFor(r, "b")
	r.signal(syscall.SIGINT)
	if got := r.wait(); got.code == 0 {
		t.Errorf("an interrupted up ended with 0:\n%s", got.all())
	}
	p.wantHealthy([]string{"a a"}, map[string]string{"a": "A"})
	p.release("hold-early-b")
	p.up()
	p.wantHealthy([]string{"a a", "b b"}, map[string]string{"a": "A", "b": "B"})
}

// The second ^C ends at once although the provider does not listen. Nothing is locked, and the
// next run finds out what had been done.
func TestInterruptTwice(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
	p.env = append(p.env, deaf+"=1")
	p.steer("hold-late-a")
	r := p.start(upArgs...)
	p.waitFor(r, "a")
	r.signal(syscall.SIGINT)
	p.waitUntilSaid(r, "cancelling")
	r.signal(syscall.SIGINT)
	got := r.wait()
	if got.code == 0 || got.code == -1 {
		t.Errorf("an up that was interrupted twice ended with %d:\n%s", got.code, got.all())
	}
	if p.locks() != 0 {
		t.Errorf("%d locks are left", p.locks())
	}
	p.release("hold-late-a")
	p.destroy()
	p.wantHealthy(nil, map[string]string{})
}

// An interrupted drift run could not tell, and says nothing else.
func TestInterruptedDrift(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
	p.up()
	p.steer("hold-read-a")
	r := p.start("drift")
	p.waitFor(r, "a")
	r.signal(syscall.SIGINT)
	if got := r.wait(); got.code != 1 || got.stdout != "" || strings.Contains(got.stderr, "BAIL") {
		t.Errorf("an interrupted drift run ended with %d:\n%s", got.code, got.all())
	}
}

// waitUntilSaid waits for a word in what a command prints.
func (p *project) waitUntilSaid(r *running, word string) {
	p.t.Helper()
	for !strings.Contains(r.stdout.String()+r.stderr.String(), word) {
		select {
		case <-r.done:
			p.t.Fatalf("it ended before it said %q:\n%s", word, r.wait().all())
		case <-poll():
		}
	}
}
