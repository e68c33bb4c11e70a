package guard

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/ledger"
)

// fakeTimer is a systemd that isn't there: it notes what it was asked to run.
type fakeTimer struct {
	armed map[string][]string
	fail  error
}

func (f *fakeTimer) Schedule(_ context.Context, name string, _ time.Duration, command []string) error {
	if f.fail != nil {
		return f.fail
	}
	f.armed[name] = command
	return nil
}

func (f *fakeTimer) Unschedule(_ context.Context, name string) error {
	delete(f.armed, name)
	return nil
}

// fakeEffects notes what was restored.
type fakeEffects struct {
	inForce  string
	restored []string
	fail     error
}

func (f *fakeEffects) Snapshot(context.Context, string, string) (string, error) {
	return f.inForce, nil
}

func (f *fakeEffects) Restore(_ context.Context, name, path, snapshot string) error {
	f.restored = append(f.restored, name+" "+filepath.Base(path)+" "+snapshot)
	return f.fail
}

type host struct {
	*Guard
	t       *testing.T
	timer   *fakeTimer
	effects *fakeEffects
	file    string
}

func newHost(t *testing.T) *host {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"etc/systemd/system", "etc/ssh"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// What stands for the agent's program can be run, and is smaller.
	program := filepath.Join(root, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, timer: &fakeTimer{armed: map[string][]string{}}, effects: &fakeEffects{inForce: "old rules"}, file: filepath.Join(root, "etc/ssh/x.conf")}
	state := filepath.Join(root, "state")
	h.Guard = &Guard{Dir: filepath.Join(state, "guard"), Ledger: ledger.Open(filepath.Join(state, "owned")), Timer: h.timer, Effects: h.effects, Root: root, Program: program}
	return h
}

// change makes a guarded change of the file, as the agent does.
func (h *host) change(content string) string {
	h.t.Helper()
	exists := h.text() != ""
	claimed, err := h.Ledger.Begin(&agentpb.Claim{Kind: "File", Id: h.file, Urn: "urn", Stack: "s", Adopt: exists}, exists, false, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	guarded, err := h.Begin(h.t.Context(), Change{Path: h.file, Effect: "SshdConfig", Kind: "File", Before: claimed.Before()})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.file, []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return guarded.GetId()
}

func (h *host) text() string {
	h.t.Helper()
	content, err := os.ReadFile(h.file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
	return string(content)
}

func (h *host) entry() *ledger.Entry {
	h.t.Helper()
	e, err := h.Ledger.Find("File", h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	return e
}

func (h *host) wantArmed(want bool) {
	h.t.Helper()
	_, unitErr := os.Stat(filepath.Join(h.Root, bootUnit))
	_, linkErr := os.Stat(filepath.Join(h.Root, bootLink)) // follows the link
	if timer := len(h.timer.armed) > 0; timer != want || (unitErr == nil) != want || (linkErr == nil) != want {
		h.t.Errorf("armed: timer %t, unit for the next boot %v, its link %v; want %t", timer, unitErr, linkErr, want)
	}
}

func (h *host) wantOutcome(id, want, why string) {
	h.t.Helper()
	s, err := h.Observe(id)
	if err != nil || s.GetOutcome() != want || !strings.Contains(s.GetWhy(), why) {
		h.t.Errorf("the outcome is %v, %v; want %s because of %q", s, err, want, why)
	}
}

func TestAConfirmedChangeStays(t *testing.T) {
	h := newHost(t)
	id := h.change("new")
	h.wantArmed(true)
	h.wantOutcome(id, Pending, "")
	if e := h.entry(); e == nil || e.Complete {
		t.Errorf("before the confirmation the ledger says %+v", e)
	}
	for range 2 { // the answer to the first may have been lost
		s, err := h.Confirm(t.Context(), id)
		if err != nil || s.GetOutcome() != Confirmed {
			t.Fatalf("%v, %v", s, err)
		}
	}
	h.wantArmed(false)
	h.wantOutcome(id, Confirmed, "")
	if e := h.entry(); h.text() != "new" || e == nil || !e.Complete {
		t.Errorf("the file holds %q, the ledger %+v", h.text(), e)
	}
	// A timer that fires in spite of all undoes nothing.
	if s, err := h.Undo(t.Context(), id, "late"); err != nil || s.GetOutcome() != Confirmed || h.text() != "new" {
		t.Errorf("a late timer: %v, %v, %q", s, err, h.text())
	}
}

func TestAnUnconfirmedChangeIsUndone(t *testing.T) {
	for name, test := range map[string]struct {
		before string
		mode   os.FileMode
	}{"of nothing": {}, "of a file": {"old", 0o640}} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			if test.before != "" {
				if err := os.WriteFile(h.file, []byte(test.before), test.mode); err != nil {
					t.Fatal(err)
				}
			}
			id := h.change("new")
			s, err := h.Undo(t.Context(), id, "nobody confirmed it")
			if err != nil || s.GetOutcome() != Undone {
				t.Fatalf("%v, %v", s, err)
			}
			if h.text() != test.before || h.entry() != nil {
				t.Errorf("the file holds %q, the ledger %+v", h.text(), h.entry())
			}
			if info, err := os.Stat(h.file); test.before != "" && (err != nil || info.Mode() != test.mode) {
				t.Errorf("the old file has the mode %v (%v), not %v", info.Mode(), err, test.mode)
			}
			if want := []string{"SshdConfig x.conf old rules"}; !slices.Equal(h.effects.restored, want) {
				t.Errorf("restored was %q, not %q", h.effects.restored, want)
			}
			h.wantArmed(false)
			h.wantOutcome(id, Undone, "nobody confirmed it")
			if s, err := h.Confirm(t.Context(), id); err != nil || s.GetOutcome() != Undone || h.text() != test.before {
				t.Errorf("a late confirmation: %v, %v, %q", s, err, h.text())
			}
		})
	}
}

// At a boot the daemons find the old files by themselves.
func TestTheNextBootUndoesWithoutTellingDaemons(t *testing.T) {
	h := newHost(t)
	id := h.change("new")
	if err := h.UndoAtBoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h.text() != "" || len(h.effects.restored) > 0 {
		t.Errorf("the file holds %q, told were %q", h.text(), h.effects.restored)
	}
	h.wantOutcome(id, Undone, "started again")
	h.wantArmed(false)
}

// What a dead run has left is undone before anything else is changed.
func TestTheNextChangeUndoesTheOneBefore(t *testing.T) {
	h := newHost(t)
	first := h.change("first")
	second := h.change("second")
	h.wantOutcome(first, Undone, "another change")
	h.wantOutcome(second, Pending, "")
	if _, err := h.Undo(t.Context(), second, ""); err != nil || h.text() != "" {
		t.Errorf("%v; after both were undone the file holds %q", err, h.text())
	}
}

// What can't be armed isn't changed.
func TestWithoutATimerNothingIsGuarded(t *testing.T) {
	h := newHost(t)
	h.timer.fail = errors.New("no systemd")
	_, err := h.Begin(t.Context(), Change{Path: h.file, Kind: "File"})
	if err == nil || !strings.Contains(err.Error(), "no systemd") {
		t.Errorf("the error is %v", err)
	}
	h.wantArmed(false)
	if left, _ := h.waiting(); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// A change that can't be undone is kept with all that is needed, and tried again.
func TestAStuckChangeIsKept(t *testing.T) {
	h := newHost(t)
	id := h.change("new")
	h.effects.fail = errors.New("sshd is broken")
	if s, err := h.Undo(t.Context(), id, ""); err != nil || s.GetOutcome() != Stuck {
		t.Fatalf("%v, %v", s, err)
	}
	h.wantOutcome(id, Stuck, "sshd is broken")
	if _, err := h.Begin(t.Context(), Change{Path: h.file, Kind: "File"}); err == nil || !strings.Contains(err.Error(), "sshd is broken") {
		t.Errorf("the next change: %v", err)
	}
	h.effects.fail = nil
	if s, err := h.Undo(t.Context(), id, ""); err != nil || s.GetOutcome() != Undone || h.text() != "" {
		t.Errorf("%v, %v, %q", s, err, h.text())
	}
}

func TestRecordsArePrivate(t *testing.T) {
	h := newHost(t)
	h.change("new")
	if err := filepath.Walk(h.Dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode()&0o077 != 0 {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestIDsAreChecked(t *testing.T) {
	h := newHost(t)
	for _, id := range []string{"", "../../etc/shadow", strings.Repeat("g", 32)} {
		if _, err := h.Confirm(t.Context(), id); err == nil {
			t.Errorf("the id %q is accepted", id)
		}
	}
	h.wantOutcome(strings.Repeat("a", 32), Unknown, "")
}

func TestAnotherProgramReplacesTheOldOne(t *testing.T) {
	h := newHost(t)
	h.change("new")
	if err := os.WriteFile(h.Program, []byte("#!/bin/sh\nexit 0 # new\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.change("newer")
	got, err := os.ReadFile(filepath.Join(h.Dir, programName))
	if err != nil || !strings.Contains(string(got), "# new") {
		t.Errorf("%q, %v", got, err)
	}
	// A program that can't be run undoes nothing, so nothing is changed.
	if err := os.WriteFile(h.Program, []byte("#!/bin/sh\nexit 1 # broken\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Begin(t.Context(), Change{Path: h.file, Kind: "File"}); err == nil {
		t.Error("a change was guarded by a program that doesn't run")
	}
}
