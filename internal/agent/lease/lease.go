// Package lease makes sure that one deployment at a time changes a host.
//
// A lease is a lock on a file, so that the kernel ends it with the last process that holds it,
// however that ends. All agents of one session hold it together: each has a shared lock on the
// file, which names the session. Taking it is a few steps (is it free? whose is it? join), and
// these are made under a second lock that is held for their duration alone. So no process can
// find the file free while another one of the same session still works, and none can join a
// session whose lease has meanwhile gone to somebody else.
package lease

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// pollEvery is how often a waiter looks whether the lease is free.
const pollEvery = 250 * time.Millisecond

// Holder says whose a lease is. It is what the file holds.
type Holder struct {
	Session string `json:"session_id"`
	Name    string `json:"holder"` // for people
	PID     int    `json:"pid"`    // the agent that took it
}

// Lease is a host's lease as one agent sees it.
type Lease struct {
	dir string

	mu      sync.Mutex
	file    *os.File // with a shared lock, once it is held
	session string
}

// At is the lease in a folder, not yet held. The folder is made when it is taken.
func At(dir string) *Lease { return &Lease{dir: dir} }

// Held reports whether this agent holds the lease.
func (l *Lease) Held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file != nil
}

// Acquire takes the lease or joins its session's. It waits for somebody else's at most as long
// as is said.
func (l *Lease) Acquire(ctx context.Context, session, name string, wait time.Duration) error {
	if session == "" {
		return fault.New(agentpb.Reason_INVALID, "a lease needs a session_id")
	}
	deadline := time.Now().Add(wait)
	for {
		other, err := l.try(session, &Holder{Session: session, Name: name, PID: os.Getpid()})
		if err != nil || other == nil {
			return err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return held(other)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(left, pollEvery)):
		}
	}
}

// Join joins the lease of a session that another agent has taken. It never takes a free one.
func (l *Lease) Join(session string) error {
	if session == "" {
		return fault.New(agentpb.Reason_LEASE_REQUIRED, "no session_id is given, and a change needs the host's lease")
	}
	other, err := l.try(session, nil)
	switch {
	case err != nil:
		return err
	case other != nil && *other == Holder{}:
		return fault.New(agentpb.Reason_LEASE_REQUIRED, "this session does not hold the host's lease")
	case other != nil:
		return held(other)
	default:
		return nil
	}
}

func held(h *Holder) error {
	return fault.New(agentpb.Reason_LEASE_HELD, "the host is being changed by %s", h.Name).
		With("holder", h.Name).With("pid", strconv.Itoa(h.PID)).
		Hint("wait until that deployment ends; its lease ends with its process")
}

// try takes or joins the lease. It returns the holder if that is another session, and an empty
// one if the lease is free and take is nil.
func (l *Lease) try(session string, take *Holder) (other *Holder, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		if l.session == session {
			return nil, nil
		}
		return nil, fault.New(agentpb.Reason_INVALID, "this agent already works for another session")
	}
	steps, err := l.lockSteps()
	if err != nil {
		return nil, err
	}
	defer steps.Close()
	file, err := open(filepath.Join(l.dir, "lease"))
	if err != nil {
		return nil, err
	}
	other, err = enter(file, session, take)
	if err != nil || other != nil {
		file.Close()
		return other, err
	}
	l.file, l.session = file, session
	return nil, nil
}

// lockSteps takes the second lock. It is given up by closing the file.
func (l *Lease) lockSteps() (*os.File, error) {
	for {
		if err := os.MkdirAll(l.dir, 0o700); err != nil {
			return nil, fault.OfPath("make", l.dir, err)
		}
		steps, err := open(filepath.Join(l.dir, "lease.lock"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the folder was removed after it was made
		}
		if err != nil {
			return nil, err
		}
		if err := flock(steps, unix.LOCK_EX); err != nil {
			steps.Close()
			return nil, err
		}
		if inPlace(steps) {
			return steps, nil
		}
		steps.Close() // its folder was removed while we waited for the lock
	}
}

// inPlace reports whether a file still has its name.
func inPlace(f *os.File) bool {
	is, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(is, named)
}

// enter ends with a shared lock on the file, or with whose the lease is.
func enter(file *os.File, session string, take *Holder) (*Holder, error) {
	err := flock(file, unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == nil && take == nil:
		return &Holder{}, nil
	case err == nil:
		if err := write(file, take); err != nil {
			return nil, err
		}
	case errors.Is(err, unix.EWOULDBLOCK):
		h := read(file)
		if h.Session != session {
			return &h, nil
		}
	default:
		return nil, err
	}
	return nil, flock(file, unix.LOCK_SH)
}

func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	return f, fault.OfPath("open", path, err)
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		switch {
		case errors.Is(err, unix.EINTR):
		case err == nil, errors.Is(err, unix.EWOULDBLOCK):
			return err
		default:
			return fault.OfPath("lock", f.Name(), err)
		}
	}
}

// write changes the file in place: the lock belongs to the file and not to its name. A write
// that is cut off ends with its process and so with the lease.
func write(f *os.File, h *Holder) error {
	content, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return fault.OfPath("write", f.Name(), err)
	}
	_, err = f.WriteAt(append(content, '\n'), 0)
	return fault.OfPath("write", f.Name(), err)
}

// read returns what is in the file. What can't be read is somebody else's.
func read(f *os.File) Holder {
	var h Holder
	if err := json.NewDecoder(f).Decode(&h); err != nil || h.Name == "" {
		h.Name = "another deployment"
	}
	return h
}

// Release gives the lease up for this agent. If it is held and no other agent of the session
// holds it, last is called before, at a time when nobody can take it; last may remove the folder.
func (l *Lease) Release(last func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	if steps, err := l.lockSteps(); err == nil {
		if flock(l.file, unix.LOCK_EX|unix.LOCK_NB) == nil {
			last()
		}
		steps.Close()
	}
	l.file.Close()
	l.file = nil
}
