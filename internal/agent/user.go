package agent

import (
	"context"

	"github.com/llmhost/llmhost/internal/agent/account"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
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
	return &agentpb.UserState{
		Exists: true, Uid: u.UID, Group: u.Group, Groups: u.Groups, Home: u.Home,
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
	claimed, err := st.ledger.Begin(req.GetClaim(), exists, false, nil)
	if err != nil {
		return nil, err
	}
	changed, err := spec.Apply(ctx, s.accounts)
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

// accountExists reports whether a user or a group has the name.
func (s *Server) accountExists(name string) (bool, error) {
	u, err := s.accounts.User(name)
	if err != nil || u != nil {
		return u != nil, fault.OfPath("read", "the list of users", err)
	}
	grouped, err := s.accounts.HasGroup(name)
	return grouped, fault.OfPath("read", "the list of groups", err)
}
