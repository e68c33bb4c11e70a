package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

const (
	recordFormat  = 1
	recordSuffix  = ".json"
	outcomeSuffix = ".outcome"

	// keepOutcomes is how long it is remembered what became of a change.
	keepOutcomes = 7 * 24 * time.Hour

	// maxSaved is the largest file that is kept, in bytes: a configuration is far below.
	maxSaved = 16 << 20
)

// record is a change that waits, as it is on the disk.
type record struct {
	Format int       `json:"format"`
	ID     string    `json:"id"`
	Begun  time.Time `json:"begun"`
	Change
	Saved    Saved  `json:"saved"`
	Snapshot string `json:"snapshot,omitempty"`
	// Stuck is why it could not be undone.
	Stuck string `json:"stuck,omitempty"`
}

// Saved is a file as it was.
type Saved struct {
	Exists  bool   `json:"exists"`
	Mode    uint32 `json:"mode,omitempty"`
	UID     int    `json:"uid"`
	GID     int    `json:"gid"`
	Content []byte `json:"content,omitempty"`
}

// Save reads a file.
func Save(path string) (Saved, error) {
	d, name, err := durable.Parent(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Saved{}, nil
	}
	if err != nil {
		return Saved{}, err
	}
	defer d.Close()
	f, is, err := d.OpenFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Saved{}, nil
	}
	if err != nil {
		return Saved{}, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSaved+1))
	if err == nil && len(content) > maxSaved {
		err = fmt.Errorf("it has more than %d MiB", maxSaved>>20)
	}
	return Saved{Exists: true, Mode: is.Mode, UID: int(is.UID), GID: int(is.GID), Content: content}, err
}

// Restore puts the file back as it was. parents are the folders that were made for it.
func (s Saved) Restore(path string, parents []string) error {
	if s.Exists {
		return durable.WriteFile(path, s.Content, durable.Attributes{UID: s.UID, GID: s.GID, Mode: s.Mode})
	}
	d, name, err := durable.Parent(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	d.Sweep(name)
	if err := d.Remove(name); err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	for i := len(parents) - 1; i >= 0; i-- {
		above, name, err := durable.Parent(parents[i])
		if err != nil {
			return nil // a folder too many harms nobody
		}
		err = above.RemoveDirectory(name)
		above.Close()
		if err != nil {
			return nil // somebody uses it
		}
	}
	return nil
}

func (g *Guard) write(r *record) error {
	r.Format = recordFormat
	return g.writeJSON(r.ID+recordSuffix, r)
}

func (g *Guard) writeJSON(name string, value any) error {
	content, err := json.Marshal(value)
	if err != nil {
		return err
	}
	path := filepath.Join(g.Dir, name)
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600}
	return fault.OfPath("write", path, durable.WriteFile(path, content, a))
}

// read reads a record, and is nil when there is none.
func (g *Guard) read(id string) (*record, error) {
	path := filepath.Join(g.Dir, id+recordSuffix)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.OfPath("read", path, err)
	}
	r := &record{}
	if err := json.Unmarshal(content, r); err != nil {
		return nil, fault.New(agentpb.Reason_REASON_UNSPECIFIED, "the record of a change, %s, is damaged: %v", path, err).With("path", path).
			Hint("it holds what was on the host before; put that back by hand and remove the record")
	}
	if r.Format > recordFormat {
		return nil, fault.New(agentpb.Reason_PROTOCOL, "the record of a change, %s, was written by a newer llmhost", path).With("path", path)
	}
	return r, nil
}

// outcome is what is remembered of a change that was decided.
func (g *Guard) outcome(id string) (*agentpb.GuardState, error) {
	path := filepath.Join(g.Dir, id+outcomeSuffix)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &agentpb.GuardState{Outcome: Unknown}, nil
	}
	if err != nil {
		return nil, fault.OfPath("read", path, err)
	}
	var o outcome
	if err := json.Unmarshal(content, &o); err != nil {
		return nil, fault.OfPath("read", path, err)
	}
	return &agentpb.GuardState{Outcome: o.Outcome, Why: o.Why}, nil
}

type outcome struct {
	Outcome string `json:"outcome"`
	Why     string `json:"why,omitempty"`
}

func (g *Guard) note(id string, s *agentpb.GuardState) error {
	return g.writeJSON(id+outcomeSuffix, outcome{s.GetOutcome(), s.GetWhy()})
}

func (g *Guard) remove(name string) error {
	path := filepath.Join(g.Dir, name)
	d, name, err := durable.Parent(path)
	if err != nil {
		return fault.OfPath("remove", path, err)
	}
	defer d.Close()
	if err = d.Remove(name); err == nil {
		err = d.Sync()
	}
	return fault.OfPath("remove", path, err)
}

// sweep forgets old outcomes.
func (g *Guard) sweep() {
	entries, err := os.ReadDir(g.Dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && strings.HasSuffix(entry.Name(), outcomeSuffix) && time.Since(info.ModTime()) > keepOutcomes {
			_ = os.Remove(filepath.Join(g.Dir, entry.Name()))
		}
	}
}

// sameProgram tells whether the folder has the program already.
func sameProgram(d *durable.Dir, program *os.File) (bool, error) {
	f, is, err := d.OpenFile(programName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := program.Stat()
	if err != nil || uint64(info.Size()) != is.Size || is.Mode != 0o700 || int(is.UID) != os.Geteuid() {
		return false, err
	}
	var a, b [64 << 10]byte
	for {
		n, errA := io.ReadFull(f, a[:])
		m, errB := io.ReadFull(program, b[:])
		if n != m || !bytes.Equal(a[:n], b[:m]) {
			return false, nil
		}
		switch {
		case errA == io.EOF || errA == io.ErrUnexpectedEOF:
			return true, nil
		case errA != nil:
			return false, errA
		case errB != nil:
			return false, errB
		}
	}
}

// runs makes sure that the program can be started where it is: what can't be undone isn't done.
func runs(ctx context.Context, path string) error {
	err := exec.CommandContext(ctx, path, "--version").Run()
	if errors.Is(err, unix.EACCES) {
		return fault.New(agentpb.Reason_PERMISSION, "nothing could undo the change: %s is on a file system that lets no program run", filepath.Dir(path)).
			With("path", path).Hint("mount the file system of %s without noexec", filepath.Dir(filepath.Dir(path)))
	}
	return fault.OfPath("run", path, err)
}
