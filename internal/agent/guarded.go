package agent

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/confine"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/guard"
	"github.com/llmhost/llmhost/internal/agent/ledger"
	"github.com/llmhost/llmhost/internal/agent/systemd"
)

// guardFolder is the guard's in the state folder.
const guardFolder = "guard"

// guardOf is the guard of a state folder.
func (s *Server) guardOf(st *state) *guard.Guard {
	return &guard.Guard{
		Dir: filepath.Join(st.dir, guardFolder), Ledger: st.ledger, Timer: s.timer,
		Effects: s.confine, Root: s.guardRoot, Program: ownProgram,
	}
}

// UndoUnconfirmed is what a host's timer and its unit for the next boot run: it undoes a change
// that nobody has confirmed, or with an empty id all of them. dir is the guard's folder. At a boot
// nothing is told to daemons, which don't run yet.
func UndoUnconfirmed(ctx context.Context, dir, id string, boot bool) error {
	manager := &systemd.Manager{}
	defer manager.Close()
	g := &guard.Guard{
		Dir: dir, Ledger: ledger.Open(ledgerIn(filepath.Dir(dir))), Timer: manager,
		Effects: &confine.Host{Units: manager}, Root: "/", Program: ownProgram,
	}
	const why = "it was not confirmed in time"
	switch {
	case boot:
		return g.UndoAtBoot(ctx)
	case id == "":
		return g.UndoAll(ctx, why)
	}
	became, err := g.Undo(ctx, id, why)
	if err == nil && became.GetOutcome() == guard.Stuck {
		return fault.New(agentpb.Reason_REASON_UNSPECIFIED, "%s", became.GetWhy())
	}
	return err
}

// Confirm keeps a guarded change.
func (s *Server) Confirm(ctx context.Context, req *agentpb.ConfirmRequest) (*agentpb.GuardState, error) {
	return s.guardOf(s.use()).Confirm(ctx, req.GetId())
}

// Undo takes a guarded change back.
func (s *Server) Undo(ctx context.Context, req *agentpb.UndoRequest) (*agentpb.GuardState, error) {
	return s.guardOf(s.use()).Undo(ctx, req.GetId(), req.GetWhy())
}

// ObserveGuard says what became of a guarded change.
func (s *Server) ObserveGuard(_ context.Context, req *agentpb.ObserveGuardRequest) (*agentpb.GuardState, error) {
	return s.guardOf(s.use()).Observe(req.GetId())
}

// PutConfiguration writes a configuration's file and brings it into force.
func (s *Server) PutConfiguration(ctx context.Context, req *agentpb.PutConfigurationRequest) (*agentpb.ChangeResponse, error) {
	kind, path := req.GetClaim().GetKind(), req.GetClaim().GetId()
	if !configurations[kind] {
		return nil, fault.New(agentpb.Reason_INVALID, "there is no configuration of the kind %q", kind)
	}
	st, unlock, err := s.change(kind, req.GetClaim())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.confine.Valid(kind, path, req.GetContent()); err != nil {
		return nil, err
	}
	want, err := s.attributes("root", "root", 0o644)
	if err != nil {
		return nil, err
	}
	put := effectPut{effect: kind, content: []byte(req.GetContent()), want: want, guard: req.GetGuard(), effective: req.GetEffective()}
	return s.putEffect(ctx, st, req.GetClaim(), put)
}

// configurations are the kinds that PutConfiguration knows.
var configurations = map[string]bool{confine.Firewall: true, confine.SshdConfig: true, confine.AppArmorProfile: true, confine.AuditRules: true}

// ObserveConfiguration describes a configuration's file and what is in force.
func (s *Server) ObserveConfiguration(ctx context.Context, req *agentpb.ObserveConfigurationRequest) (*agentpb.ConfigurationState, error) {
	if !configurations[req.GetKind()] {
		return nil, fault.New(agentpb.Reason_INVALID, "there is no configuration of the kind %q", req.GetKind())
	}
	file, err := s.ObservePath(ctx, &agentpb.ObservePathRequest{Path: req.GetPath(), Kind: req.GetKind(), MaxContent: maxConfiguration})
	if err != nil {
		return nil, err
	}
	resp := &agentpb.ConfigurationState{Exists: file.GetExists(), Content: string(file.GetContent()), Owned: file.GetOwned()}
	return resp, s.confine.Observe(ctx, req.GetKind(), req.GetPath(), req.GetKeys(), resp)
}

// maxConfiguration is the largest file of a configuration, in bytes.
const maxConfiguration = 1 << 20

// effectPut is a file that is to be written and brought into force.
type effectPut struct {
	effect    string
	content   []byte
	want      durable.Attributes
	guard     *agentpb.Guard // nil: not guarded
	effective map[string]string
}

// putEffect writes a file and brings it into force. What fails halfway is put back: by the guard
// if there is one, and else here.
func (s *Server) putEffect(ctx context.Context, st *state, c *agentpb.Claim, put effectPut) (*agentpb.ChangeResponse, error) {
	path := c.GetId()
	was, err := durable.Lstat(path)
	if err != nil {
		return nil, fault.OfPath("look at", path, err)
	}
	if was != nil && was.Type != durable.Regular {
		return nil, fault.New(agentpb.Reason_WRONG_TYPE, "%s is a %s, and a file is to be there", path, was.Type).With("path", path)
	}
	parents, err := durable.MissingParents(path)
	if err != nil {
		return nil, fault.OfPath("look at the folder of", path, err)
	}
	claimed, err := st.ledger.Begin(c, was != nil, false, parents)
	if err != nil {
		return nil, err
	}
	resp := &agentpb.ChangeResponse{Generation: claimed.Generation}
	settled, err := s.asAsked(ctx, path, was, put)
	if err != nil {
		_ = claimed.Revert() // an entry that stays is incomplete, which the next run handles
		return nil, err
	}
	if settled && !claimed.Interrupted {
		return resp, claimed.Finish()
	}
	resp.Changed = true
	g := s.guardOf(st)
	change := guard.Change{Path: path, Parents: parents, Effect: put.effect, Kind: c.GetKind(), Before: claimed.Before()}
	if put.guard != nil {
		change.Time = time.Duration(put.guard.GetSeconds()) * time.Second
		if resp.Guarded, err = g.Begin(ctx, change); err != nil {
			_ = claimed.Revert()
			return nil, err
		}
	}
	back, err := s.whatIs(ctx, change)
	if err != nil {
		return nil, err
	}
	if err := s.effect(ctx, path, parents, put); err != nil {
		if resp.Guarded != nil {
			if _, undoErr := g.Undo(ctx, resp.Guarded.GetId(), err.Error()); undoErr != nil {
				return nil, undoErr
			}
			return nil, err
		}
		if back() == nil {
			_ = claimed.Revert()
		}
		return nil, err
	}
	if resp.Guarded != nil {
		return resp, nil // the confirmation finishes the claim
	}
	return resp, claimed.Finish()
}

// asAsked tells whether the file and what is in force are as they should be.
func (s *Server) asAsked(ctx context.Context, path string, was *durable.Info, put effectPut) (bool, error) {
	if was == nil || was.Size != uint64(len(put.content)) || !was.Matches(put.want) {
		return false, nil
	}
	file, err := guard.Save(path)
	if err != nil || string(file.Content) != string(put.content) {
		return false, fault.OfPath("read", path, err)
	}
	if !configurations[put.effect] {
		return true, nil
	}
	seen := &agentpb.ConfigurationState{Exists: true, Content: string(put.content)}
	if err := s.confine.Observe(ctx, put.effect, path, keysOf(put.effective), seen); err != nil {
		return false, err
	}
	return seen.GetLoaded() && len(seen.GetChanges()) == 0 && unmet(put.effective, seen) == "", nil
}

// effect writes the file, has it checked, brings it into force, and makes sure that it is.
func (s *Server) effect(ctx context.Context, path string, parents []string, put effectPut) error {
	_, err := effectWithParents(path, parents, nil, func(*durable.Info) (bool, error) {
		return true, fault.OfPath("write", path, durable.WriteFile(path, put.content, put.want))
	})
	if err != nil {
		return err
	}
	if err := s.confine.Apply(ctx, put.effect, path); err != nil {
		return err
	}
	if len(put.effective) == 0 {
		return nil
	}
	seen := &agentpb.ConfigurationState{Exists: true}
	if err := s.confine.Observe(ctx, put.effect, path, keysOf(put.effective), seen); err != nil {
		return err
	}
	if which := unmet(put.effective, seen); which != "" {
		return fault.New(agentpb.Reason_REFUSED, "%s has no effect: %s", path, which).With("path", path).
			Hint("another file of /etc/ssh comes first: sshd takes the first value that it reads")
	}
	return nil
}

// unmet says which setting isn't in force as it should be.
func unmet(want map[string]string, seen *agentpb.ConfigurationState) string {
	for _, key := range keysOf(want) {
		if have := seen.GetEffective()[key]; have != want[key] {
			return key + " is " + quoteOrUnset(have) + " in force, and is to be " + quoteOrUnset(want[key])
		}
	}
	return ""
}

// whatIs keeps what is there before a change, and returns what puts it back.
func (s *Server) whatIs(ctx context.Context, c guard.Change) (back func() error, err error) {
	old, err := guard.Save(c.Path)
	if err != nil {
		return nil, fault.OfPath("keep the old", c.Path, err)
	}
	snapshot, err := s.confine.Snapshot(ctx, c.Effect, c.Path)
	if err != nil {
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := old.Restore(c.Path, c.Parents); err != nil {
			return err
		}
		if !old.Exists {
			return s.confine.Removed(ctx, c.Effect, c.Path)
		}
		return s.confine.Restore(ctx, c.Effect, c.Path, snapshot)
	}, nil
}

// removeEffect removes a's file and takes it out of force. The guard, if one
// is asked for, is armed before.
func (s *Server) removeEffect(ctx context.Context, st *state, e *ledger.Entry, asked *agentpb.Guard, effect string) (removal, error) {
	var guarded *agentpb.Guarded
	g := s.guardOf(st)
	if was, err := durable.Lstat(e.ID); err == nil && was != nil && was.Type == durable.Regular && asked != nil {
		change := guard.Change{Path: e.ID, Effect: effect, Kind: e.Kind, Before: e, Removal: true, Time: time.Duration(asked.GetSeconds()) * time.Second}
		if guarded, err = g.Begin(ctx, change); err != nil {
			return removal{}, err
		}
	}
	done, err := s.removeFile(ctx, st, e)
	if err == nil {
		err = s.confine.Removed(ctx, effect, e.ID)
	}
	if err != nil && guarded != nil {
		if _, undoErr := g.Undo(ctx, guarded.GetId(), err.Error()); undoErr != nil {
			return removal{}, undoErr
		}
	}
	done.guarded = guarded
	return done, err
}

func keysOf(settings map[string]string) []string { return slices.Sorted(maps.Keys(settings)) }

func quoteOrUnset(value string) string {
	if value == "" {
		return "not set"
	}
	return strconv.Quote(value)
}
