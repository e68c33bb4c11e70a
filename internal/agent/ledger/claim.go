package ledger

import (
	"slices"
	"strconv"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// Claimed is an entry between the begin of its effect and the end.
type Claimed struct {
	Entry
	// Interrupted says that an earlier effect has begun and nobody knows how far it came.
	Interrupted bool

	ledger *Ledger
	was    *Entry // before, nil when there was no entry
}

// Begin checks a claim against the ledger and writes it down. exists says whether the thing is
// on the host, folder whether it is one. parents are the folders that must be made for it.
//
// A claim of generation 0 is a create: it continues its owner's own entry with a new
// generation, takes what is neither on the host nor in the ledger, and takes what exists only
// with adopt. Any other generation is an update, which keeps the generation. An update of what
// the ledger doesn't know is a create: the host was installed again.
func (l *Ledger) Begin(c *agentpb.Claim, exists, folder bool, parents []string) (*Claimed, error) {
	old, err := l.Find(c.GetKind(), c.GetId())
	if err != nil {
		return nil, err
	}
	if err := l.permit(old, c, exists); err != nil {
		return nil, err
	}
	now := &Claimed{ledger: l, was: old}
	if old != nil {
		now.Entry, now.Interrupted = *old, !old.Complete
		now.CreatedParents = slices.Clone(old.CreatedParents)
	} else {
		now.Entry = Entry{Kind: c.GetKind(), ID: c.GetId(), URN: c.GetUrn(), Stack: c.GetStack(), Adopted: exists}
	}
	if old == nil || c.GetGeneration() == 0 {
		now.Generation = l.newerThan(now.Generation)
	}
	now.Complete, now.Folder = false, folder
	for _, dir := range parents {
		if !slices.Contains(now.CreatedParents, dir) {
			now.CreatedParents = append(now.CreatedParents, dir)
		}
	}
	if err := l.write(&now.Entry); err != nil {
		return nil, err
	}
	return now, nil
}

// permit says whether a claim may be made good.
func (l *Ledger) permit(old *Entry, c *agentpb.Claim, exists bool) error {
	switch {
	case old == nil && exists && !c.GetAdopt():
		return fault.New(agentpb.Reason_NOT_OWNED, "%s exists on the host and was not made by llmhost", describe(c)).
			With("path", c.GetId()).Hint("look at it, and set adopt = true on the resource to take it over")
	case old == nil:
		return nil
	case !old.ownedBy(c):
		return l.otherOwner(old, c)
	case c.GetGeneration() != 0 && c.GetGeneration() != old.Generation:
		return fault.New(agentpb.Reason_NOT_OWNED, "%s on the host is not the one in this state: it has generation %d, the state has %d", describe(c), old.Generation, c.GetGeneration()).
			With("path", c.GetId()).With("generation", strconv.FormatUint(old.Generation, 10)).
			Hint("the state is an old copy; refresh the stack")
	default:
		return nil
	}
}

// otherOwner names the owner. Adopting doesn't override it: each of the two would undo what
// the other does for ever.
func (l *Ledger) otherOwner(old *Entry, c *agentpb.Claim) *fault.Error {
	err := fault.New(agentpb.Reason_OTHER_OWNER, "%s belongs to %s of the stack %s", describe(c), old.URN, old.Stack).
		With("path", c.GetId()).With("owner", old.URN).With("stack", old.Stack)
	if old.Stack == c.GetStack() {
		return err.Hint("two resources of this stack declare the same thing; if one was renamed, give it an alias of the old name")
	}
	return err.Hint("remove it from the stack %s first; if that stack is gone for good, remove its entry %s and set adopt = true", old.Stack, l.path(old.Kind, old.ID))
}

// Finish marks the effect as done.
func (c *Claimed) Finish() error {
	c.Complete = true
	return c.ledger.write(&c.Entry)
}

// Abandon forgets a claim whose effect has failed and left nothing on the host. An entry that
// was there before stays: what it is for may still exist.
func (c *Claimed) Abandon() error {
	if c.was != nil {
		return nil
	}
	return c.ledger.remove(&c.Entry)
}

// Revert puts the ledger back to what it was before a claim whose effect has failed and has
// left the host as it was.
func (c *Claimed) Revert() error {
	if c.was == nil {
		return c.ledger.remove(&c.Entry)
	}
	return c.ledger.write(c.was)
}

// Release decides about a deletion. It returns the entry of what may be removed, or why
// nothing is. The entry stays until Forget.
func (l *Ledger) Release(c *agentpb.Claim) (entry *Entry, keptBecause string, err error) {
	e, err := l.Find(c.GetKind(), c.GetId())
	switch {
	case err != nil:
		return nil, "", err
	case e == nil:
		return nil, "it is not in the host's ledger", nil
	case !e.ownedBy(c):
		return nil, "it belongs to " + e.URN + " of the stack " + e.Stack, nil
	case e.Generation != c.GetGeneration():
		return nil, "it was made anew since this state was written", nil
	default:
		return e, "", nil
	}
}

// Forget removes an entry whose thing is gone or is left to others.
func (l *Ledger) Forget(e *Entry) error { return l.remove(e) }

// Before is the entry as it was before the claim, nil if there was none.
func (c *Claimed) Before() *Entry { return c.was }

// Complete marks the effect of an entry as done, from another process than the one that has
// begun it.
func (l *Ledger) Complete(kind, id string) error {
	e, err := l.Find(kind, id)
	if err != nil || e == nil {
		return err
	}
	e.Complete = true
	return l.write(e)
}

// Drop forgets the entry of a thing.
func (l *Ledger) Drop(kind, id string) error { return l.Restore(kind, id, nil) }

// Restore puts the entry of a thing back to what it was, nil for none.
func (l *Ledger) Restore(kind, id string, was *Entry) error {
	if was != nil {
		return l.write(was)
	}
	e, err := l.Find(kind, id)
	if err != nil || e == nil {
		return err
	}
	return l.remove(e)
}
