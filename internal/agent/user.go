package agent

import (
	"context"

	"github.com/llmhost/llmhost/internal/agent/account"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/systemd"
)

// ObserveUser describes an account.
func (s *Server) ObserveUser(_ context.Context, req *agentpb.ObserveUserRequest) (*agentpb.UserState, error) {
	owned, err := s.owned(kindUser, req.GetName())
	if err != nil {
		return nil, err
	}
	u, err := s.accounts.User(req.GetName())
	if err != nil {
		return nil, fault.OfPath("read", "the list of users", err)
	}
	if u == nil {
		return &agentpb.UserState{Owned: owned}, nil
	}
	lacks, err := s.accounts.Lacks(u)
	if err != nil {
		return nil, fault.OfPath("look at", "what the user "+u.Name+" has", err)
	}
	return &agentpb.UserState{
		Exists: true, Lacks: lacks, Uid: u.UID, Group: u.Group, Groups: u.Groups, Home: u.Home,
		Shell: u.Shell, Comment: u.Comment, Locked: u.Locked, Owned: owned,
	}, nil
}

// PutUser makes a system user with a group of its own, or changes what differs.
func (s *Server) PutUser(ctx context.Context, req *agentpb.PutUserRequest) (*agentpb.ChangeResponse, error) {
	st, unlock, err := s.change(kindUser, req.GetClaim())
	if err != nil {
		return nil, err
	}
	defer unlock()
	spec := account.Spec{
		Name: req.GetClaim().GetId(), Groups: req.GetGroups(),
		Home: req.GetHome(), Shell: req.GetShell(), Comment: req.GetComment(),
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	exists, err := s.accountExists(spec.Name)
	if err != nil {
		return nil, err
	}
	old, err := st.ledger.Find(kindUser, spec.Name)
	if err != nil {
		return nil, err
	}
	claimed, err := st.ledger.Begin(req.GetClaim(), exists, req.GetContainers(), nil)
	if err != nil {
		return nil, err
	}
	changed, err := s.applyUser(ctx, spec, req.GetContainers(), old != nil && old.Folder)
	if err != nil {
		if left, lookErr := s.accountExists(spec.Name); lookErr == nil && !left {
			// An entry that stays is incomplete, which the next run handles.
			_ = claimed.Abandon()
		}
		return nil, fault.OfPath("change", "the user "+spec.Name, err)
	}
	if err := claimed.Finish(); err != nil {
		return nil, err
	}
	return &agentpb.ChangeResponse{Generation: claimed.Generation, Changed: changed}, nil
}

// applyUser makes the user as declared, with what its containers need.
func (s *Server) applyUser(ctx context.Context, spec account.Spec, containers, had bool) (changed bool, err error) {
	if had && !containers {
		if err := s.stripUser(ctx, spec.Name); err != nil {
			return false, err
		}
	}
	changed, err = spec.Apply(ctx, s.accounts)
	if err != nil || !containers {
		return changed || had && !containers, err
	}
	equipped, err := s.accounts.Equip(ctx, spec.Name)
	if err != nil {
		return true, err
	}
	// systemd starts the manager of a user that lingers in its own time; what is put next needs it.
	uid, _, err := s.accounts.UID(spec.Name)
	if err != nil {
		return true, err
	}
	return changed || equipped, s.systemd.Start(ctx, systemd.UserManagerUnit(uid))
}

// stripUser ends all that a user's manager runs, and takes away what its containers had.
func (s *Server) stripUser(ctx context.Context, name string) error {
	u, err := s.accounts.User(name)
	if err != nil || u == nil {
		return err
	}
	if err := s.systemd.Stop(ctx, systemd.UserManagerUnit(int(u.UID))); err != nil {
		return err
	}
	return s.accounts.Strip(ctx, u)
}

// accountExists reports whether a user or a group has the name.
func (s *Server) accountExists(name string) (bool, error) {
	u, err := s.accounts.User(name)
	if err != nil || u != nil {
		return u != nil, fault.OfPath("read", "the list of users", err)
	}
	grouped, err := s.accounts.HasGroup(name)
	return grouped, fault.OfPath("read", "the list of groups", err)
}
