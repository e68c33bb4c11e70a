// Package guard undoes changes of a host that nobody confirms.
//
// A wrong line for sshd, a firewall or the network locks out whoever could put it right. So what
// such a change replaces is written down first, and two things that need neither llmhost nor a
// connection are set to put it back: a timer of the running systemd, and for a machine that is
// switched off meanwhile a unit that runs at the next boot before there is a network. Only a
// confirmation takes them away. llmhost gives it on a connection that it has made after the
// change.
package guard

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
)

// DefaultTime is how long a change waits to be confirmed.
const DefaultTime = time.Minute

// The limits of what a caller may ask for: time for a slow host's login, and no change that is
// forgotten for a day.
const (
	leastTime = 10 * time.Second
	mostTime  = 15 * time.Minute
)

// The outcomes of a change, in agent.proto's words.
const (
	Pending   = "pending"
	Confirmed = "confirmed"
	Undone    = "undone"
	Stuck     = "stuck"
	Unknown   = "unknown"
)

// Timer is what the guard needs of systemd.
type Timer interface {
	// Schedule has a command run after a time, once.
	Schedule(ctx context.Context, name string, after time.Duration, command []string) error
	// Unschedule takes it away. One that has run already is no error.
	Unschedule(ctx context.Context, name string) error
}

// Effects bring a file into force, by a name that says how.
type Effects interface {
	// Snapshot is what is in force, if that isn't just what the file says.
	Snapshot(ctx context.Context, name, path string) (string, error)
	// Restore brings the restored file into force, with the snapshot.
	Restore(ctx context.Context, name, path, snapshot string) error
}

// Guard is a host's guard.
type Guard struct {
	Dir     string // of the records
	Ledger  *ledger.Ledger
	Timer   Timer
	Effects Effects
	// Root is where the unit for the next boot is written: "/" on a host.
	Root string
	// Program undoes: it is copied to where it survives. The one that runs, on a host.
	Program string
}

// Change is what is to be guarded.
type Change struct {
	Path    string   // the file that changes
	Parents []string // folders that are made for it, outermost first
	Effect  string   // how the file comes into force
	Kind    string   // with Path, the entry in the ledger
	// Before is the ledger's entry before the change, nil for none.
	Before *ledger.Entry
	// Removal says that a confirmation ends the entry. It completes it otherwise.
	Removal bool
	Time    time.Duration
}

// Begin writes down what is there, and arms what puts it back. The change may be made only after
// it. Any earlier change that waits is undone: whoever made it is gone.
func (g *Guard) Begin(ctx context.Context, c Change) (*agentpb.Guarded, error) {
	if c.Time == 0 {
		c.Time = DefaultTime
	}
	if c.Time < leastTime || c.Time > mostTime {
		return nil, fault.New(agentpb.Reason_INVALID, "a guarded change waits %s to %s for its confirmation, not %s", leastTime, mostTime, c.Time)
	}
	if err := g.UndoAll(ctx, "another change came before it was confirmed"); err != nil {
		return nil, err
	}
	unlock, err := g.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	g.sweep()
	r := &record{ID: newID(), Begun: time.Now(), Change: c}
	if r.Saved, err = Save(c.Path); err != nil {
		return nil, fault.OfPath("keep the old", c.Path, err)
	}
	if r.Snapshot, err = g.Effects.Snapshot(ctx, c.Effect, c.Path); err != nil {
		return nil, err
	}
	program, err := g.install(ctx)
	if err != nil {
		return nil, err
	}
	if err := g.write(r); err != nil {
		return nil, err
	}
	err = g.atBoot(program)
	if err == nil {
		err = g.Timer.Schedule(ctx, timerName(r.ID), c.Time, []string{program, "undo", g.Dir, r.ID})
	}
	if err != nil {
		return nil, errors.Join(err, g.end(r))
	}
	return &agentpb.Guarded{Id: r.ID, Seconds: uint32(c.Time / time.Second)}, nil
}

// Confirm keeps a change.
func (g *Guard) Confirm(ctx context.Context, id string) (*agentpb.GuardState, error) {
	return g.settle(ctx, id, func(r *record) (*agentpb.GuardState, error) {
		settle := g.Ledger.Complete
		if r.Removal {
			settle = g.Ledger.Drop
		}
		if err := settle(r.Kind, r.Path); err != nil {
			return nil, err
		}
		return &agentpb.GuardState{Outcome: Confirmed}, nil
	})
}

// Undo puts back what was there before a change.
func (g *Guard) Undo(ctx context.Context, id, why string) (*agentpb.GuardState, error) {
	// Whoever asks may be gone, and half an undoing is the worst of all.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return g.settle(ctx, id, func(r *record) (*agentpb.GuardState, error) { return g.restore(ctx, r, why, true) })
}

// undoTimeout bounds an undoing, most of which is the reload of a daemon.
const undoTimeout = 2 * time.Minute

// UndoAll undoes every change that waits.
func (g *Guard) UndoAll(ctx context.Context, why string) error {
	waiting, err := g.waiting()
	if err != nil {
		return err
	}
	for _, id := range waiting {
		became, err := g.Undo(ctx, id, why)
		if err != nil {
			return err
		}
		if became.GetOutcome() == Stuck {
			return fault.New(agentpb.Reason_REASON_UNSPECIFIED, "an earlier change could not be undone: %s", became.GetWhy()).
				Hint("look at the host: what was there before is in %s", filepath.Join(g.Dir, id+recordSuffix))
		}
	}
	return nil
}

// UndoAtBoot undoes every change that waits, on a machine whose daemons don't run yet: they will
// find the old files.
func (g *Guard) UndoAtBoot(ctx context.Context) error {
	waiting, err := g.waiting()
	if err != nil {
		return err
	}
	var failures []error
	for _, id := range waiting {
		became, err := g.settle(ctx, id, func(r *record) (*agentpb.GuardState, error) {
			return g.restore(ctx, r, "the machine was started again before it was confirmed", false)
		})
		if err == nil && became.GetOutcome() == Stuck {
			err = errors.New(became.GetWhy())
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// Observe says what became of a change.
func (g *Guard) Observe(id string) (*agentpb.GuardState, error) {
	if err := validID(id); err != nil {
		return nil, err
	}
	r, err := g.read(id)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return g.outcome(id)
	case r.Stuck != "":
		return &agentpb.GuardState{Outcome: Stuck, Why: r.Stuck}, nil
	default:
		return &agentpb.GuardState{Outcome: Pending}, nil
	}
}

// settle decides a change, unless it was decided already.
func (g *Guard) settle(ctx context.Context, id string, decide func(*record) (*agentpb.GuardState, error)) (*agentpb.GuardState, error) {
	if err := validID(id); err != nil {
		return nil, err
	}
	unlock, err := g.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := g.read(id)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return g.outcome(id)
	}
	became, err := decide(r)
	if err != nil || became.GetOutcome() == Stuck {
		return became, err
	}
	if err := g.note(id, became); err != nil {
		return nil, err
	}
	// One that fires in spite of this finds nothing to undo.
	_ = g.Timer.Unschedule(ctx, timerName(id))
	return became, g.end(r)
}

// restore puts the file back, brings it into force if daemons run, and then corrects the ledger.
func (g *Guard) restore(ctx context.Context, r *record, why string, running bool) (*agentpb.GuardState, error) {
	err := r.Saved.Restore(r.Path, r.Parents)
	if err == nil && running {
		err = g.Effects.Restore(ctx, r.Effect, r.Path, r.Snapshot)
	}
	if err == nil {
		err = g.Ledger.Restore(r.Kind, r.Path, r.Before)
	}
	if err == nil {
		return &agentpb.GuardState{Outcome: Undone, Why: why}, nil
	}
	r.Stuck = fmt.Sprintf("%s: what was there before could not be put back: %v", r.Path, err)
	if noteErr := g.write(r); noteErr != nil {
		return nil, noteErr
	}
	return &agentpb.GuardState{Outcome: Stuck, Why: r.Stuck}, nil
}

// end forgets a change, and with the last one what would undo it at a boot.
func (g *Guard) end(r *record) error {
	if err := g.remove(r.ID + recordSuffix); err != nil {
		return err
	}
	left, err := g.waiting()
	if err != nil || len(left) > 0 {
		return err
	}
	return g.notAtBoot()
}

// install copies the program to the guard's own folder. The agent that runs may be pruned, or in
// a folder that a reboot empties.
func (g *Guard) install(ctx context.Context) (string, error) {
	path := filepath.Join(g.Dir, programName)
	d, err := g.folder()
	if err != nil {
		return "", err
	}
	defer d.Close()
	source, err := os.Open(g.Program)
	if err != nil {
		return "", fault.OfPath("read", g.Program, err)
	}
	defer source.Close()
	if same, err := sameProgram(d, source); err != nil || same {
		return path, fault.OfPath("read", path, err)
	}
	if _, err := source.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o700}
	err = d.Replace(programName, a, func(f *os.File) error {
		_, err := io.Copy(f, source)
		return err
	})
	if err != nil {
		return "", fault.OfPath("write", path, err)
	}
	return path, runs(ctx, path)
}

// programName is the program's in the guard's folder.
const programName = "llmhost-agent"

func timerName(id string) string { return "llmhost-undo-" + id[:12] }

func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

var idForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

func validID(id string) error {
	if !idForm.MatchString(id) {
		return fault.New(agentpb.Reason_INVALID, "%q is no id of a guarded change", id)
	}
	return nil
}

// lock keeps all others from deciding about changes: the timer's process, and agents of other
// connections.
func (g *Guard) lock(ctx context.Context) (unlock func(), err error) {
	d, err := g.folder()
	if err != nil {
		return nil, err
	}
	for {
		locked, err := d.TryLock()
		if err != nil || locked {
			return func() { d.Close() }, err
		}
		select {
		case <-ctx.Done():
			d.Close()
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// folder opens the guard's folder, which is made if need be.
func (g *Guard) folder() (*durable.Dir, error) {
	parent, name := filepath.Split(g.Dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fault.OfPath("make", parent, err)
	}
	d, err := durable.Open(filepath.Clean(parent))
	if err != nil {
		return nil, fault.OfPath("open", parent, err)
	}
	defer d.Close()
	own, err := d.OpenPrivate(name)
	return own, fault.OfPath("open", g.Dir, err)
}

// waiting are the ids of the changes that wait, the latest first: what was changed twice is put
// back in turn.
func (g *Guard) waiting() ([]string, error) {
	names, err := os.ReadDir(g.Dir)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.OfPath("read", g.Dir, err)
	}
	var records []*record
	for _, entry := range names {
		id, isRecord := strings.CutSuffix(entry.Name(), recordSuffix)
		if !isRecord || !idForm.MatchString(id) {
			continue
		}
		r, err := g.read(id)
		if err != nil {
			return nil, err
		}
		if r != nil {
			records = append(records, r)
		}
	}
	slices.SortFunc(records, func(a, b *record) int { return b.Begun.Compare(a.Begun) })
	var ids []string
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	return ids, nil
}
