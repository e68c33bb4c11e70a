package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
	"github.com/llmhost/llmhost/internal/agent/systemd"
)

// manager is what the agent needs of systemd.
type manager interface {
	Available() bool
	State(ctx context.Context, name string) (*systemd.State, error)
	Reload(ctx context.Context) error
	Enable(ctx context.Context, name string) error
	Disable(ctx context.Context, name string) error
	Start(ctx context.Context, name string) error
	Restart(ctx context.Context, name string) error
	Stop(ctx context.Context, name string) error
	ResetFailed(ctx context.Context, name string) error
}

var _ manager = (*systemd.Manager)(nil)

// PutUnit installs a unit, so that it consists of its text and drop-ins alone, and makes it
// enabled and running as asked. A unit that was installed and that systemd can't start is a
// UNIT_FAILED with the generation in its metadata: it is there, and is the caller's.
func (s *Server) PutUnit(ctx context.Context, req *agentpb.PutUnitRequest) (*agentpb.PutUnitResponse, error) {
	st, unlock, err := s.change(kindUnit, req.GetClaim())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := validUnit(req); err != nil {
		return nil, err
	}
	p := &unitPut{manager: s.systemd, files: s.unitFiles, st: st, req: req, name: req.GetClaim().GetId()}
	if p.state, err = p.manager.State(ctx, p.name); err != nil {
		return nil, err
	}
	if p.was, err = p.files.Load(p.name); err != nil {
		return nil, fault.OfPath("read", systemd.UnitPath(p.name), err)
	}
	claimed, err := st.ledger.Begin(req.GetClaim(), p.exists(), false, nil)
	if err != nil {
		return nil, err
	}
	p.interrupted = claimed.Interrupted
	if err := p.keep(claimed); err != nil {
		_ = claimed.Revert()
		return nil, err
	}
	if err := p.install(ctx); err != nil {
		if !p.spoilt {
			// An entry that stays is incomplete, which the next run handles.
			_ = claimed.Revert()
			if p.kept {
				_ = st.forgetPrevious(p.name)
			}
		}
		return nil, err
	}
	operateErr := p.operate(ctx)
	if operateErr == nil || p.settled(ctx) {
		if err := claimed.Finish(); err != nil {
			return nil, err
		}
	}
	if operateErr != nil {
		return nil, s.unitFailed(ctx, p.name, claimed.Generation, operateErr)
	}
	state, err := s.observeUnit(ctx, p.name)
	if err != nil {
		return nil, err
	}
	return &agentpb.PutUnitResponse{Generation: claimed.Generation, Changed: p.changed, State: state}, nil
}

// exists reports whether a unit of the name is there, be it masked or the distribution's, or
// somebody's drop-in for one that is to come. systemd remembers files that are gone until it
// reads them again.
func (p *unitPut) exists() bool {
	return p.was.Unit != nil || len(p.was.Others) > 0 || len(p.was.DropIns) > 0 || p.files.Has(p.state.FragmentPath)
}

func validUnit(req *agentpb.PutUnitRequest) error {
	name := req.GetClaim().GetId()
	if err := systemd.ValidName(name); err != nil {
		return err
	}
	for file := range req.GetDropIns() {
		if err := systemd.ValidDropIn(name, file); err != nil {
			return err
		}
	}
	if req.GetEnabled() && !hasInstallSection(req) {
		return fault.New(agentpb.Reason_INVALID, "%s can't be enabled: it has no [Install] section", name)
	}
	return nil
}

func hasInstallSection(req *agentpb.PutUnitRequest) bool {
	for _, text := range append(slices.Collect(maps.Values(req.GetDropIns())), req.GetContent()) {
		if installSection(text) != "" {
			return true
		}
	}
	return false
}

// installSection is the part of a unit's text that says what enabling does.
func installSection(text string) string {
	var section strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "[") {
			inside = trimmed == "[Install]"
		}
		if inside {
			section.WriteString(line)
		}
	}
	return strings.TrimSpace(section.String())
}

// unitPut is one PutUnit on its way.
type unitPut struct {
	manager manager
	files   systemd.Files
	st      *state
	req     *agentpb.PutUnitRequest
	name    string

	was   *systemd.Configuration // before
	state *systemd.State         // before

	// interrupted says that an earlier put was cut off: the unit's process and the links of its
	// [Install] may be those of an older text.
	interrupted bool

	kept      bool // what was there before is kept by this put
	rewritten bool // the files were changed
	changed   bool // anything was
	spoilt    bool // what was there before could not be put back
}

// install makes the files right and has systemd read them. If it can't, the old ones come back.
func (p *unitPut) install(ctx context.Context) error {
	if !p.same() {
		if err := systemd.Verify(ctx, p.st.dir, p.name, p.req.GetContent(), p.req.GetDropIns()); err != nil {
			return err
		}
	}
	var err error
	p.rewritten, err = p.files.Install(p.name, p.was, p.req.GetContent(), p.req.GetDropIns())
	p.changed = p.rewritten
	if err != nil {
		err = fault.OfPath("write", systemd.UnitPath(p.name), err)
	} else {
		err = p.load(ctx)
	}
	if err == nil || !p.changed {
		return err
	}
	if restoreErr := p.restore(ctx); restoreErr != nil {
		p.spoilt = true
		return errors.Join(err, fmt.Errorf("what was there before could not be put back: %w", restoreErr))
	}
	return err
}

// load makes the unit enabled or not, and systemd read what has changed. Enabling comes first:
// it works on the files, and until the next reload systemd takes every unit of the host for
// out of date.
func (p *unitPut) load(ctx context.Context) error {
	enabling, err := p.enable(ctx)
	if err != nil {
		return err
	}
	if p.rewritten || enabling || p.state.NeedsReload {
		return p.read(ctx)
	}
	return nil
}

// enable makes the links of [Install] as asked. Those of an old [Install] are removed.
func (p *unitPut) enable(ctx context.Context) (changed bool, err error) {
	now, err := p.manager.State(ctx, p.name)
	if err != nil {
		return false, err
	}
	want := p.req.GetEnabled()
	outdated := now.Enabled && p.was.Exists() &&
		(p.interrupted || installSection(p.was.Unit.Content) != installSection(p.req.GetContent()))
	if now.Enabled == want && !outdated {
		return false, nil
	}
	p.changed = true
	if !want || outdated {
		if err := p.manager.Disable(ctx, p.name); err != nil {
			return true, err
		}
	}
	if want {
		err = p.manager.Enable(ctx, p.name)
	}
	return true, err
}

// restore puts back what was there before. The caller may be gone, and its wish must not stay
// half fulfilled.
func (p *unitPut) restore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	// While the new file is there, so that the links are found by its [Install].
	disableErr := p.manager.Disable(ctx, p.name)
	if err := p.files.Restore(p.name, p.was); err != nil {
		return err
	}
	if p.state.Enabled {
		if err := p.manager.Enable(ctx, p.name); err != nil {
			return err
		}
	} else if disableErr != nil {
		return disableErr
	}
	return p.manager.Reload(ctx)
}

// same reports whether the texts are those that are installed.
func (p *unitPut) same() bool {
	if p.was.Unit == nil || !p.was.Unit.Says(p.req.GetContent()) || len(p.was.DropIns) != len(p.req.GetDropIns()) {
		return false
	}
	for file, text := range p.req.GetDropIns() {
		if !p.was.DropIns[file].Says(text) {
			return false
		}
	}
	return true
}

// read makes systemd read the files and refuses what it can't load.
func (p *unitPut) read(ctx context.Context) error {
	if err := p.manager.Reload(ctx); err != nil {
		return err
	}
	now, err := p.manager.State(ctx, p.name)
	if err != nil {
		return err
	}
	if now.Load != "loaded" {
		return fault.New(agentpb.Reason_INVALID, "systemd can't load %s (%s): %s", p.name, now.Load, now.LoadError).With("unit", p.name)
	}
	return nil
}

// operate makes the installed unit running as asked.
func (p *unitPut) operate(ctx context.Context) error {
	now, err := p.manager.State(ctx, p.name)
	if err != nil {
		return err
	}
	switch {
	case p.req.GetOnDemand():
		return p.forgive(ctx, now)
	case p.req.GetRunning():
		return p.run(ctx, now)
	default:
		return p.stop(ctx, now)
	}
}

// forgive forgets that a unit has failed.
func (p *unitPut) forgive(ctx context.Context, now *systemd.State) error {
	if now.Active != "failed" {
		return nil
	}
	p.changed = true
	return p.manager.ResetFailed(ctx, p.name)
}

func (p *unitPut) run(ctx context.Context, now *systemd.State) error {
	looping := now.Active == "activating" && now.Sub == "auto-restart"
	old, err := outdated(p.name, p.files, p.was, now)
	if err != nil {
		return err
	}
	stale := p.rewritten || p.interrupted || p.req.GetRestart() || looping || old
	job := p.manager.Start
	switch {
	case now.Active == "active" && !stale:
		return nil
	case now.Runs() && stale:
		job = p.manager.Restart
	}
	// A unit that was started too often of late would be refused.
	if err := p.manager.ResetFailed(ctx, p.name); err != nil {
		return err
	}
	p.changed = true
	if err := job(ctx, p.name); err != nil {
		return err
	}
	started, err := p.manager.State(ctx, p.name)
	if err != nil {
		return err
	}
	if started.ConditionFailed && !started.Runs() {
		return fault.New(agentpb.Reason_UNIT_FAILED, "systemd did not start %s: a condition in its [Unit] section is not met", p.name)
	}
	return nil
}

// settled reports, after an operation that failed, that no process of an older text can be
// left. Else the claim stays incomplete, so that the next put restarts the unit.
func (p *unitPut) settled(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	now, err := p.manager.State(ctx, p.name)
	return err == nil && !now.Runs()
}

func (p *unitPut) stop(ctx context.Context, now *systemd.State) error {
	if now.Active != "inactive" && now.Active != "failed" {
		p.changed = true
		if err := p.manager.Stop(ctx, p.name); err != nil {
			return err
		}
	}
	// A program that ends with an error when it is stopped leaves a failed unit.
	after, err := p.manager.State(ctx, p.name)
	if err != nil {
		return err
	}
	return p.forgive(ctx, after)
}

// unitFailed adds to an error what the caller needs to keep the unit and to show why it fails.
func (s *Server) unitFailed(ctx context.Context, name string, generation uint64, err error) error {
	failed := &fault.Error{Reason: agentpb.Reason_UNIT_FAILED, Message: err.Error(), Err: err}
	var ours *fault.Error
	if errors.As(err, &ours) {
		failed = ours
	}
	failed = failed.With("unit", name).With("generation", strconv.FormatUint(generation, 10))
	failed.Reason = agentpb.Reason_UNIT_FAILED
	if lines := s.lastWords(ctx, name); len(lines) > 0 {
		failed = failed.With("journal", strings.Join(lines, "\n"))
	}
	return failed
}

// lastWords are the journal's last lines of a unit. Those of one that wasn't started because a
// unit that it requires has failed are from an earlier life, so that it is that unit's then.
func (s *Server) lastWords(ctx context.Context, name string) []string {
	state, err := s.systemd.State(ctx, name)
	if err != nil || state.Active == "failed" {
		return s.journal(ctx, name)
	}
	var lines []string
	for _, required := range state.Requires {
		if other, err := s.systemd.State(ctx, required); err == nil && other.Active == "failed" {
			lines = append(lines, s.journal(ctx, required)...)
		}
	}
	if len(lines) == 0 {
		return s.journal(ctx, name)
	}
	return lines
}

// ObserveUnit describes a unit, and asks the server behind it if that is wanted and it runs.
func (s *Server) ObserveUnit(ctx context.Context, req *agentpb.ObserveUnitRequest) (*agentpb.UnitState, error) {
	if err := systemd.ValidName(req.GetName()); err != nil {
		return nil, err
	}
	resp, err := s.observeUnit(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	if r := req.GetReadiness(); r != nil && resp.GetActiveState() == "active" {
		resp.Asked = true
		if err := s.ask(ctx, r); err != nil {
			resp.AnswerError = err.Error()
		} else {
			resp.Answered = true
		}
	}
	return resp, nil
}

func (s *Server) observeUnit(ctx context.Context, name string) (*agentpb.UnitState, error) {
	owned, err := s.owned(kindUnit, name)
	if err != nil {
		return nil, err
	}
	state, err := s.systemd.State(ctx, name)
	if err != nil {
		return nil, err
	}
	files, err := s.unitFiles.Load(name)
	if err != nil {
		return nil, fault.OfPath("read", systemd.UnitPath(name), err)
	}
	old, err := outdated(name, s.unitFiles, files, state)
	if err != nil {
		return nil, err
	}
	resp := &agentpb.UnitState{
		Exists: files.Exists(), Masked: files.Masked(), Enabled: state.Enabled,
		ActiveState: state.Active, SubState: state.Sub, Result: state.Result, Restarts: state.Restarts,
		MainPid: state.MainPID, NeedDaemonReload: state.NeedsReload, FragmentPath: state.FragmentPath, Owned: owned,
		ShadowedBy: files.ShadowedBy(), ProcessOutdated: old,
	}
	if files.Unit != nil {
		resp.Content = files.Unit.String()
	}
	if resp.DropIns, err = s.dropIns(files, state); err != nil {
		return nil, err
	}
	if state.Active == "failed" || state.Sub == "auto-restart" {
		resp.Journal = s.journal(ctx, name)
	}
	return resp, nil
}

// outdated tells whether the unit's process was started before its files were last changed.
func outdated(name string, files systemd.Files, is *systemd.Configuration, state *systemd.State) (bool, error) {
	if state.Started.IsZero() || !state.Runs() {
		return false, nil
	}
	changed, err := files.Changed(name, is)
	if err != nil {
		return false, fault.OfPath("look at", systemd.UnitPath(name), err)
	}
	return changed.After(state.Started), nil
}

// dropIns are those of the unit itself, whether or not systemd has read them yet, and those for
// several units that somebody has made on this host.
func (s *Server) dropIns(files *systemd.Configuration, state *systemd.State) (map[string]string, error) {
	texts := map[string]string{}
	for file, text := range files.DropIns {
		texts[file] = text.String()
	}
	for _, file := range state.DropInPaths {
		if _, known := texts[file]; known || !strings.HasPrefix(file, "/etc/") && !strings.HasPrefix(file, "/run/") {
			continue
		}
		text, err := s.unitFiles.Read(file)
		if err != nil {
			return nil, fault.OfPath("read", file, err)
		}
		texts[file] = text
	}
	return texts, nil
}

// removeUnit stops a unit and removes all that is there for it. A unit that can't be stopped
// stays.
func (s *Server) removeUnit(ctx context.Context, st *state, e *ledger.Entry) (removal, error) {
	was, err := s.unitFiles.Load(e.ID)
	if err != nil {
		return removal{}, fault.OfPath("read", systemd.UnitPath(e.ID), err)
	}
	state, err := s.systemd.State(ctx, e.ID)
	if err != nil {
		return removal{}, err
	}
	if state.Active != "inactive" && state.Active != "failed" {
		if err := s.systemd.Stop(ctx, e.ID); err != nil {
			return removal{}, err
		}
	}
	if err := s.systemd.Disable(ctx, e.ID); err != nil && was.Exists() {
		return removal{}, err
	}
	if err := st.forgetPrevious(e.ID); err != nil {
		return removal{}, err
	}
	if err := s.unitFiles.Remove(e.ID, was); err != nil {
		return removal{}, fault.OfPath("remove", systemd.UnitPath(e.ID), err)
	}
	if err := s.systemd.Reload(ctx); err != nil {
		return removal{}, err
	}
	return removal{removed: was.Unit != nil}, s.systemd.ResetFailed(ctx, e.ID)
}
