package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/pulumi/pulumi/pkg/v3/backend"
	"github.com/pulumi/pulumi/pkg/v3/backend/diy"
)

// lockDir is the state folder whose locks are looked at; empty when the state is not in a folder
// of this machine, and then Pulumi's own refusal has to do.
type lockDir string

// lockDirOf is the folder of a file backend's URL, which Pulumi reads in its own way: ~ is the
// home, and a relative path starts from the current folder.
func lockDirOf(backendURL string) lockDir {
	path, ok := strings.CutPrefix(backendURL, diy.FilePathPrefix)
	if !ok {
		return ""
	}
	path, _, _ = strings.Cut(path, "?")
	if rest, ok := strings.CutPrefix(path, "~"); ok {
		me, err := user.Current() // as Pulumi does, whatever HOME says
		if err != nil {
			return ""
		}
		path = filepath.Join(me.HomeDir, rest)
	}
	unescaped, err := url.PathUnescape(path)
	if err != nil {
		return ""
	}
	abs, err := filepath.Abs(filepath.FromSlash(unescaped))
	if err != nil {
		return ""
	}
	return lockDir(abs)
}

// holder is the content of a lock file, as Pulumi's DIY backend writes it.
type holder struct {
	PID      int       `json:"pid"`
	User     string    `json:"username"`
	Hostname string    `json:"hostname"`
	Since    time.Time `json:"timestamp"`
}

// LockedError says who is changing a stack.
type LockedError struct {
	Stack  string
	Holder string // "user@host, pid 123, since …"
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("stack %s is being changed by %s: wait for that process to end and try again. "+
		"If you are sure that it is gone (it runs on another machine, or as another user), release the lock with `llmhost cancel -s %s`",
		e.Stack, e.Holder, e.Stack)
}

// of lists the lock files on a stack.
func (l lockDir) of(ref backend.StackReference) ([]string, error) {
	dir := filepath.Join(string(l), ".pulumi", "locks", filepath.FromSlash(ref.FullyQualifiedName().String()))
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for locks on stack %s: %w", ref.Name(), err)
	}
	var files []string
	for _, entry := range entries {
		if entry.IsDir() || filepath.Ext(entry.Name()) != ".json" {
			continue // attributes of the blob, not a lock
		}
		files = append(files, filepath.Join(dir, entry.Name()))
	}
	return files, nil
}

// unlock breaks the locks on a stack whose process was ours and is dead, and refuses if another
// process holds one. The check and Pulumi's own lock are not one step, but Pulumi checks again
// after it has taken its lock, so two processes never both go on.
func (b *stackBackend) unlock(ref backend.StackReference) error {
	if b.locks == "" {
		return nil
	}
	files, err := b.locks.of(ref)
	if err != nil {
		return err
	}
	for _, path := range files {
		h, err := readHolder(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // released in the meantime
		}
		if err != nil {
			return fmt.Errorf("the lock %s on stack %s can't be read (%w): if nothing else is changing the stack, release it with `llmhost cancel -s %s`",
				path, ref.Name(), err, ref.Name())
		}
		if !h.dead() {
			if h.PID == os.Getpid() {
				continue // ours: Pulumi's backend knows its own lock
			}
			return &LockedError{Stack: ref.Name().String(), Holder: h.String()}
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("breaking the lock of the dead process %s: %w", h, err)
		}
		b.engine.logf("broke the lock that %s left on stack %s: that process is dead", h, ref.Name())
	}
	return nil
}

func readHolder(path string) (holder, error) {
	var h holder
	raw, err := os.ReadFile(path)
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(raw, &h)
}

// dead reports that the holder is certainly gone: it ran here, as this user, and its process is
// no more. Nothing can be said about another machine's process, or another user's.
func (h holder) dead() bool {
	hostname, err := os.Hostname()
	if err != nil || hostname != h.Hostname {
		return false
	}
	me, err := user.Current()
	if err != nil || me.Username != h.User {
		return false
	}
	return !aliveSince(h.PID, h.Since)
}

func (h holder) String() string {
	return fmt.Sprintf("%s@%s, pid %d, since %s", h.User, h.Hostname, h.PID, h.Since.Local().Format("2006-01-02 15:04:05"))
}
