package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
	"github.com/llmhost/llmhost/internal/agent/models"
	"github.com/llmhost/llmhost/internal/transfer"
)

// CollectModels removes models and uploads of which the client says that nothing declared uses
// them. What is in use, what belongs to another stack, and what llmhost hasn't put there, stays.
func (s *Server) CollectModels(ctx context.Context, req *agentpb.CollectModelsRequest) (*agentpb.CollectModelsResponse, error) {
	st := s.use()
	if !req.GetDryRun() {
		if err := st.mayChange(req.GetSessionId()); err != nil {
			return nil, err
		}
	}
	var folders []string
	for _, path := range req.GetPaths() {
		if err := validPath(path); err != nil {
			return nil, err
		}
		folders = append(folders, filepath.Dir(path))
	}
	listed, owners, err := s.listModels(ctx, folders)
	if err != nil {
		return nil, err
	}
	byPath := map[string]*models.Listed{}
	for _, l := range listed {
		byPath[l.Path] = l
	}
	resp := &agentpb.CollectModelsResponse{}
	freed := models.Freed{}
	for _, path := range req.GetPaths() {
		one := &agentpb.CollectedModel{Path: path}
		resp.Models = append(resp.Models, one)
		if one.KeptBecause = kept(byPath[path], owners, req.GetStack()); one.KeptBecause != "" {
			continue
		}
		if !req.GetDryRun() {
			if one.KeptBecause, err = s.collect(ctx, st, byPath[path], owners[modelOf(byPath[path])]); err != nil {
				return nil, err
			}
			if one.KeptBecause != "" {
				continue
			}
		}
		one.FreedBytes = freed.Add(byPath[path])
		delete(byPath, path) // what is named twice is removed once
	}
	return resp, nil
}

// mayChange is for calls that come over a connection which holds the lease, or over one of the
// same session.
func (st *state) mayChange(session string) error {
	if st.lease.Held() {
		return nil
	}
	return st.lease.Join(session)
}

// kept says why something stays.
func kept(l *models.Listed, owners map[string]*ledger.Entry, stack string) string {
	if l == nil {
		return "there is no model and no upload"
	}
	owner := owners[modelOf(l)]
	switch {
	case len(l.UsedBy) > 0:
		return "it is used by " + strings.Join(l.UsedBy, ", ")
	case owner != nil && owner.Stack != stack:
		return fmt.Sprintf("it belongs to the stack %s", owner.Stack)
	case l.Partial:
		return ""
	case owner != nil && owner.Adopted:
		return "it was there before llmhost adopted it"
	case owner == nil && !l.Placed:
		return "llmhost has not put it there"
	default:
		return ""
	}
}

// modelOf is the path of a model, also of one that is still arriving.
func modelOf(l *models.Listed) string {
	if name, ok := transfer.PartOf(filepath.Base(l.Path)); ok {
		return filepath.Join(filepath.Dir(l.Path), name)
	}
	return l.Path
}

// collect removes one model or upload, unless that is being received now.
func (s *Server) collect(ctx context.Context, st *state, l *models.Listed, owner *ledger.Entry) (keptBecause string, err error) {
	defer s.locks.lock(ledger.Key(kindModel, modelOf(l)))()
	if l.Partial {
		keptBecause, err := removePart(l.Path)
		if err != nil || keptBecause != "" || owner == nil {
			return keptBecause, err
		}
		if is, err := durable.Lstat(owner.ID); err != nil || is != nil {
			return "", err // an older version of the model, which stays
		}
	}
	if owner != nil {
		done, err := s.removeModel(ctx, st, owner)
		if err != nil || done.keptBecause != "" {
			return done.keptBecause, err
		}
		s.removed.Store(true)
		return "", st.ledger.Forget(owner)
	}
	d, name, err := durable.Parent(l.Path)
	if err != nil {
		return "", fault.OfPath("remove", l.Path, err)
	}
	defer d.Close()
	err = models.Keep(ctx, st.digests(), []string{l.Path}, func() error { return d.Discard(name) })
	if err == nil {
		err = d.Sync()
	}
	if err != nil {
		return "", fault.OfPath("remove", l.Path, err)
	}
	st.digests().Forget(l.Path)
	return "", nil
}

// removePart removes an upload, unless it is going on.
func removePart(part string) (keptBecause string, err error) {
	d, name, err := durable.Parent(part)
	if err != nil {
		return "", fault.OfPath("remove", part, err)
	}
	defer d.Close()
	model, _ := transfer.PartOf(name)
	if err = transfer.RemovePart(d, model); err == nil {
		err = d.Sync()
	}
	switch fault.ReasonOf(err) {
	case agentpb.Reason_IN_USE, agentpb.Reason_NOT_OWNED:
		return err.Error(), nil
	}
	return "", fault.OfPath("remove", part, err)
}
