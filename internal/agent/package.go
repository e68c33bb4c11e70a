package agent

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
	"github.com/llmhost/llmhost/internal/agent/packages"
)

// PutPackage installs a package, another version of it, or what of it was changed.
func (s *Server) PutPackage(req *agentpb.PutPackageRequest, stream installStream) error {
	ctx, name, version := stream.Context(), req.GetClaim().GetId(), req.GetVersion()
	st, unlock, err := s.change(kindPackage, req.GetClaim())
	if err != nil {
		return err
	}
	defer unlock()
	is, err := packages.Look(ctx, name)
	if err != nil {
		return fault.OfPath("look at", "the package "+name, err)
	}
	// A package is what its distribution says, so that one which is there already is used, and
	// stays when it is no longer declared.
	c := proto.CloneOf(req.GetClaim())
	c.Adopt = true
	claimed, err := st.ledger.Begin(c, is.Installed, false, nil)
	if err != nil {
		return err
	}
	changed, err := putPackage(ctx, claimed, is, version, tell(stream))
	if err == nil && is.Held != req.GetHold() && !claimed.Adopted {
		changed, err = true, packages.SetHold(ctx, name, req.GetHold())
	}
	if err != nil {
		// What is there now is looked at by the next run, if this one may not look any more.
		if now, lookErr := packages.Look(context.WithoutCancel(ctx), name); lookErr == nil && !now.Installed {
			_ = claimed.Abandon()
		}
		return fault.OfPath("install", "the package "+name, err)
	}
	if err := claimed.Finish(); err != nil {
		return err
	}
	return stream.Send(&agentpb.InstallEvent{Result: &agentpb.ChangeResponse{Generation: claimed.Generation, Changed: changed}})
}

func putPackage(ctx context.Context, c *ledger.Claimed, is packages.State, version string, say func(string)) (changed bool, err error) {
	switch {
	case !is.Installed, version != "" && version != is.Version:
		return true, packages.Install(ctx, c.ID, version, c.Interrupted, say)
	case len(is.Modified) > 0:
		return true, packages.Repair(ctx, c.ID, is.Version, say)
	}
	return false, nil
}

// ObservePackage says what the package manager knows.
func (s *Server) ObservePackage(ctx context.Context, req *agentpb.ObservePackageRequest) (*agentpb.PackageState, error) {
	if err := packages.ValidName(req.GetName()); err != nil {
		return nil, err
	}
	owned, err := s.owned(kindPackage, req.GetName())
	if err != nil {
		return nil, err
	}
	is, err := packages.Look(ctx, req.GetName())
	if err != nil {
		return nil, fault.OfPath("look at", "the package "+req.GetName(), err)
	}
	return &agentpb.PackageState{Exists: is.Installed, Version: is.Version, Held: is.Held, ModifiedFiles: is.Modified, Owned: owned}, nil
}

// removePackage removes a package that llmhost has installed, unless others need it by now.
func (s *Server) removePackage(ctx context.Context, _ *state, e *ledger.Entry) (removal, error) {
	is, err := packages.Look(ctx, e.ID)
	if err != nil || !is.Installed {
		return removal{}, err
	}
	if is.Held {
		if err := packages.SetHold(ctx, e.ID, false); err != nil {
			return removal{}, fault.OfPath("remove", "the package "+e.ID, err)
		}
	}
	kept, err := packages.Remove(ctx, e.ID)
	if err != nil {
		return removal{}, fault.OfPath("remove", "the package "+e.ID, err)
	}
	return removal{removed: kept == "", keptBecause: kept}, nil
}
