package agent

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
)

// putPath makes the claim of something that has a path, runs its effect, and settles the claim
// by how the effect ended. want is the type that may be there already.
func (st *state) putPath(c *agentpb.Claim, want string, effect func(was *durable.Info) (changed bool, err error)) (*agentpb.ChangeResponse, error) {
	path := c.GetId()
	was, err := durable.Lstat(path)
	if err != nil {
		return nil, fault.OfPath("look at", path, err)
	}
	if was != nil && was.Type != want {
		return nil, fault.New(agentpb.Reason_WRONG_TYPE, "%s is a %s, and a %s is to be there", path, was.Type, want).With("path", path)
	}
	parents, err := durable.MissingParents(path)
	if err != nil {
		return nil, fault.OfPath("look at the folder of", path, err)
	}
	foreign := was != nil
	if foreign && want == durable.Directory && c.GetKind() == kindDirectory {
		made, err := st.madeAsParent(path)
		if err != nil {
			return nil, err
		}
		foreign = !made
	}
	claimed, err := st.ledger.Begin(c, foreign, want == durable.Directory, parents)
	if err != nil {
		return nil, err
	}
	changed, err := effectWithParents(path, parents, was, effect)
	if err != nil {
		st.undo(claimed)
		return nil, err
	}
	if err := claimed.Finish(); err != nil {
		return nil, err
	}
	return &agentpb.ChangeResponse{Generation: claimed.Generation, Changed: changed}, nil
}

func effectWithParents(path string, parents []string, was *durable.Info, effect func(*durable.Info) (bool, error)) (bool, error) {
	attributes := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o755}
	if err := durable.MakeParents(parents, attributes); err != nil {
		return false, fault.OfPath("make the folder of", path, err)
	}
	return effect(was)
}

// undo forgets a claim whose effect has failed, unless there is something on the host that it
// is about.
func (st *state) undo(c *ledger.Claimed) {
	if was, err := durable.Lstat(c.ID); err != nil || was != nil {
		return
	}
	if c.Kind == kindModel {
		if part, err := durable.Lstat(partPath(c.ID)); err != nil || part != nil {
			return // the next push goes on with it, and a removal removes it
		}
	}
	if c.Kind == kindVenv {
		_, cache, _ := venvLeavings(filepath.Base(c.ID))
		if kept, err := durable.Lstat(filepath.Join(filepath.Dir(c.ID), cache)); err != nil || kept != nil {
			return // likewise
		}
	}
	st.removeParents(&c.Entry)
	// An entry that stays is incomplete, which the next run handles.
	_ = c.Abandon()
}

// madeAsParent reports whether a folder is there only because llmhost needed it for something
// below. Such a folder may be declared later without adopting it.
func (st *state) madeAsParent(path string) (bool, error) {
	entries, err := st.ledger.List()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(entries, func(e *ledger.Entry) bool {
		return slices.Contains(e.CreatedParents, path)
	}), nil
}

// removeParents removes the folders that were made for something, as far as they are empty and
// not declared themselves.
func (st *state) removeParents(e *ledger.Entry) {
	for _, dir := range slices.Backward(e.CreatedParents) {
		if declared, err := st.ledger.Find(kindDirectory, dir); err != nil || declared != nil {
			return
		}
		d, name, err := durable.Parent(dir)
		if err != nil {
			return
		}
		err = d.RemoveDirectory(name)
		d.Close()
		if err != nil {
			return // not empty, so neither are those above
		}
	}
}

// attributes resolves names to numbers.
func (s *Server) attributes(owner, group string, mode uint32) (durable.Attributes, error) {
	a := durable.Attributes{Mode: mode}
	if mode > 0o7777 {
		return a, fault.New(agentpb.Reason_INVALID, "%o is no file mode", mode)
	}
	var found bool
	var err error
	if a.UID, found, err = s.accounts.UID(owner); err != nil {
		return a, fault.OfPath("read", "the list of users", err)
	} else if !found {
		return a, fault.New(agentpb.Reason_NO_SUCH_USER, "there is no user %q on the host", owner)
	}
	if a.GID, found, err = s.accounts.GID(group); err != nil {
		return a, fault.OfPath("read", "the list of groups", err)
	} else if !found {
		return a, fault.New(agentpb.Reason_NO_SUCH_USER, "there is no group %q on the host", group)
	}
	return a, nil
}

// names is the reverse of attributes.
func (s *Server) names(i *durable.Info) (owner, group string, err error) {
	if owner, err = s.accounts.UserName(i.UID); err != nil {
		return "", "", fault.OfPath("read", "the list of users", err)
	}
	if group, err = s.accounts.GroupName(i.GID); err != nil {
		return "", "", fault.OfPath("read", "the list of groups", err)
	}
	return owner, group, nil
}
