// Package ledger records on the host what llmhost has made there and for whom.
//
// Pulumi locks stacks and not hosts, and its state says what should be there. Only the host
// can say whether a file that is already there is the user's own, was made by another stack,
// or is half of what a killed run was making. An entry is written before its effect and marked
// complete after it, so that whatever happens in between is found by the next run.
package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// format is the version of the entries' format. A reader refuses a newer one.
const format = 1

// Entry is one thing that llmhost has made.
type Entry struct {
	Format     int    `json:"format"`
	Kind       string `json:"kind"`
	ID         string `json:"id"`
	URN        string `json:"urn"`
	Stack      string `json:"stack"`
	Generation uint64 `json:"generation"`
	// Complete is false from before the effect until after it.
	Complete bool `json:"complete"`
	// Adopted things were there before llmhost, and stay when it goes.
	Adopted bool `json:"adopted,omitempty"`
	// Folder says that a model is a folder, or that a user has a home folder: with it goes all that
	// is in it.
	Folder bool `json:"folder,omitempty"`
	// CreatedParents are folders that had to be made for it, outermost first.
	CreatedParents []string `json:"created_parents,omitempty"`
}

// Proto is the entry as the protocol shows it. A nil entry is nil.
func (e *Entry) Proto() *agentpb.Owned {
	if e == nil {
		return nil
	}
	return &agentpb.Owned{
		Kind: e.Kind, Id: e.ID, Urn: e.URN, Stack: e.Stack,
		Generation: e.Generation, Complete: e.Complete, Adopted: e.Adopted,
	}
}

func (e *Entry) ownedBy(c *agentpb.Claim) bool {
	return e.URN == c.GetUrn() && e.Stack == c.GetStack()
}

// Ledger is the folder of the entries.
type Ledger struct {
	dir string
	now func() time.Time
}

// Open opens the ledger in a folder, which need not exist: it is made by the first entry.
func Open(dir string) *Ledger { return &Ledger{dir: dir, now: time.Now} }

// Key is a name for files about one thing, whatever is in its id.
func Key(kind, id string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + id))
	return kind + "-" + hex.EncodeToString(sum[:16])
}

func (l *Ledger) path(kind, id string) string {
	return filepath.Join(l.dir, Key(kind, id)+".json")
}

// Find returns the entry of a thing, and nil when there is none.
func (l *Ledger) Find(kind, id string) (*Entry, error) {
	return read(l.path(kind, id))
}

// List returns all entries, sorted by kind and id.
func (l *Ledger) List() ([]*Entry, error) {
	files, err := os.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.OfPath("read", l.dir, err)
	}
	var entries []*Entry
	for _, file := range files {
		if strings.HasPrefix(file.Name(), ".") || filepath.Ext(file.Name()) != ".json" {
			continue
		}
		e, err := read(filepath.Join(l.dir, file.Name()))
		if err != nil {
			return nil, err
		}
		if e != nil { // removed since the folder was read
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b *Entry) int {
		return strings.Compare(a.Kind+"\x00"+a.ID, b.Kind+"\x00"+b.ID)
	})
	return entries, nil
}

func read(path string) (*Entry, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.OfPath("read", path, err)
	}
	var e Entry
	if err := json.Unmarshal(content, &e); err != nil {
		return nil, fault.New(agentpb.Reason_REASON_UNSPECIFIED, "the ledger's entry %s is damaged: %v", path, err).With("path", path).
			Hint("restore the file from a backup, or remove it and set adopt = true on the resource that it is for")
	}
	if e.Format > format {
		return nil, fault.New(agentpb.Reason_PROTOCOL, "the ledger's entry %s was written by a newer llmhost", path).With("path", path).
			Hint("use that version of llmhost for this host")
	}
	return &e, nil
}

func (l *Ledger) write(e *Entry) error {
	e.Format = format
	content, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return fault.OfPath("make", l.dir, err)
	}
	path := l.path(e.Kind, e.ID)
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600}
	return fault.OfPath("write", path, durable.WriteFile(path, append(content, '\n'), a))
}

func (l *Ledger) remove(e *Entry) error {
	path := l.path(e.Kind, e.ID)
	d, name, err := durable.Parent(path)
	if err != nil {
		return fault.OfPath("remove", path, err)
	}
	defer d.Close()
	err = d.Remove(name)
	if err == nil {
		err = d.Sync()
	}
	return fault.OfPath("remove", path, err)
}

// newerThan is a generation above every one that the thing may have had, also before its
// entry was last removed: microseconds since 1970, so that a deletion that was meant for an
// earlier life of a file is recognized without keeping entries of removed things for ever.
func (l *Ledger) newerThan(previous uint64) uint64 {
	return max(previous+1, uint64(l.now().UnixMicro()))
}

func describe(c *agentpb.Claim) string {
	return fmt.Sprintf("%s %s", c.GetKind(), c.GetId())
}
