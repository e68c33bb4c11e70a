package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/account"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/confine"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
)

// removal is what became of something that was to be removed.
type removal struct {
	removed     bool
	keptBecause string
	// stillOurs keeps the ledger's entry: what was made is there, and only can't go yet.
	stillOurs bool
	// guarded is a removal that waits to be confirmed. The entry stays until then.
	guarded *agentpb.Guarded
}

// Remove undoes what the claim's owner has put on the host.
func (s *Server) Remove(ctx context.Context, req *agentpb.RemoveRequest) (*agentpb.RemoveResponse, error) {
	c := req.GetClaim()
	remove, ok := map[string]func(context.Context, *state, *ledger.Entry) (removal, error){
		kindFile:      s.removeFile,
		kindDirectory: s.removeDirectory,
		kindUser:      s.removeUser,
		kindUnit:      s.removeUnit,
		kindModel:     s.removeModel,
		kindEngine:    s.removeEngine,
		kindProgram:   s.removeFile,
		kindImage:     s.removeImage,

		kindCredential: s.removeFile,
		kindQuadlet:    s.removeQuadlet,
		kindEngineRoot: s.removeEngineRoot,
		kindPackage:    s.removePackage,
		kindVenv:       s.removeVenv,
		kindCompose:    s.removeCompose,
	}[c.GetKind()]
	if configurations[c.GetKind()] || c.GetKind() == kindFile && req.GetGuard() != nil {
		effect := c.GetKind()
		if effect == kindFile {
			effect = confine.EffectOf(c.GetId())
		}
		ok = true
		remove = func(ctx context.Context, st *state, e *ledger.Entry) (removal, error) {
			return s.removeEffect(ctx, st, e, req.GetGuard(), effect)
		}
	}
	if !ok {
		return nil, fault.New(agentpb.Reason_INVALID, "nothing of the kind %q can be removed", c.GetKind())
	}
	st, unlock, err := s.change(c.GetKind(), c)
	if err != nil {
		return nil, err
	}
	defer unlock()
	entry, kept, err := st.ledger.Release(c)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return &agentpb.RemoveResponse{KeptBecause: kept}, nil
	}
	done := removal{keptBecause: "it was there before llmhost adopted it"}
	if !entry.Adopted {
		if done, err = remove(ctx, st, entry); err != nil {
			return nil, err
		}
	} else if err := st.forget(entry); err != nil {
		return nil, err
	}
	if done.guarded != nil {
		s.removed.Store(true)
		return &agentpb.RemoveResponse{Removed: done.removed, Guarded: done.guarded}, nil
	}
	if !done.stillOurs {
		if err := st.ledger.Forget(entry); err != nil {
			return nil, err
		}
		s.removed.Store(true)
	}
	return &agentpb.RemoveResponse{Removed: done.removed, KeptBecause: done.keptBecause}, nil
}

// forget forgets what is known of something that isn't llmhost's any more.
func (st *state) forget(e *ledger.Entry) error {
	switch e.Kind {
	case kindModel:
		st.digests().Forget(e.ID)
	case kindUnit:
		return st.forgetPrevious(e.ID)
	}
	return nil
}

// removeFile removes a file, and nothing that has taken its place.
func (s *Server) removeFile(_ context.Context, st *state, e *ledger.Entry) (removal, error) {
	sweep := func(d *durable.Dir, name string) error {
		d.Sweep(name)
		return nil
	}
	return st.removePath(e, durable.Regular, sweep, func(d *durable.Dir, name string) (removal, error) {
		return removal{removed: true}, d.Remove(name)
	})
}

// removeDirectory removes a folder only when it is empty.
func (s *Server) removeDirectory(_ context.Context, st *state, e *ledger.Entry) (removal, error) {
	nothing := func(*durable.Dir, string) error { return nil }
	return st.removePath(e, durable.Directory, nothing, func(d *durable.Dir, name string) (removal, error) {
		err := d.RemoveDirectory(name)
		switch {
		case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
			return removal{keptBecause: fmt.Sprintf("%s is not empty", e.ID), stillOurs: true}, nil
		case errors.Is(err, unix.EBUSY):
			return removal{keptBecause: fmt.Sprintf("something is mounted on %s", e.ID), stillOurs: true}, nil
		default:
			return removal{removed: true}, err
		}
	})
}

// removePath opens the folder of what an entry is about, sweeps out what a killed agent has left
// there, makes sure that the thing is still of the type that was put there, removes it, and then
// the folders that were made for it.
func (st *state) removePath(e *ledger.Entry, want string, sweep func(*durable.Dir, string) error, remove func(*durable.Dir, string) (removal, error)) (removal, error) {
	d, name, err := durable.Parent(e.ID)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		st.removeParents(e)
		return removal{}, nil
	}
	if err != nil {
		return removal{}, fault.OfPath("remove", e.ID, err)
	}
	defer d.Close()
	if err := sweep(d, name); err != nil {
		return removal{}, fault.OfPath("remove what is left of", e.ID, err)
	}
	is, err := d.Lstat(name)
	if err != nil {
		return removal{}, fault.OfPath("remove", e.ID, err)
	}
	if is != nil && is.Type != want {
		return removal{keptBecause: fmt.Sprintf("a %s has taken its place", is.Type)}, nil
	}
	var done removal
	if is != nil {
		if done, err = remove(d, name); err == nil {
			err = d.Sync()
		}
		if err != nil {
			return removal{}, fault.OfPath("remove", e.ID, err)
		}
	}
	if !done.stillOurs {
		st.removeParents(e)
	}
	return done, nil
}

func (s *Server) removeUser(ctx context.Context, _ *state, e *ledger.Entry) (removal, error) {
	exists, err := s.accountExists(e.ID)
	if err != nil || !exists {
		return removal{}, err
	}
	if e.Folder { // it ran containers
		if err := s.stripUser(ctx, e.ID); err != nil {
			return removal{}, fault.OfPath("remove what belongs to", "the user "+e.ID, err)
		}
	}
	kept, err := account.Delete(ctx, s.accounts, e.ID)
	if err != nil {
		return removal{}, fault.OfPath("remove", "the user "+e.ID, err)
	}
	return removal{removed: kept == "", keptBecause: kept, stillOurs: kept != ""}, nil
}
