package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
	"github.com/llmhost/llmhost/internal/agent/systemd"
)

// previous is what a switch of a unit has replaced. It is on the disk from before the switch until
// somebody knows that what is there now works, so that whoever comes after a crash finds the way
// back.
type previous struct {
	Format     int    `json:"format"`
	ID         string `json:"id"`
	URN        string `json:"urn"`
	Stack      string `json:"stack"`
	Generation uint64 `json:"generation"`

	Configuration *systemd.Configuration `json:"configuration"`
	Enabled       bool                   `json:"enabled"`
}

// previousFormat is the version of the records' format. What has another is no way back.
const previousFormat = 1

// rollBackLimit bounds the way back, with the end of what doesn't work and the start of what did.
const rollBackLimit = 5 * time.Minute

func (st *state) previousPath(unit string) string {
	return filepath.Join(st.dir, "previous", ledger.Key(kindUnit, unit)+".json")
}

// previous is what an owner's switch has kept of a unit, and nil when that is nothing.
func (st *state) previous(e *ledger.Entry) (*previous, error) {
	content, err := os.ReadFile(st.previousPath(e.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.OfPath("read", st.previousPath(e.ID), err)
	}
	var was previous
	if err := json.Unmarshal(content, &was); err != nil || was.Format != previousFormat || was.Configuration == nil {
		return nil, nil
	}
	if was.ID != e.ID || was.URN != e.URN || was.Stack != e.Stack || was.Generation != e.Generation {
		return nil, nil
	}
	return &was, nil
}

func (st *state) writePrevious(was *previous) error {
	was.Format = previousFormat
	content, err := json.MarshalIndent(was, "", "  ")
	if err != nil {
		return err
	}
	file := st.previousPath(was.ID)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fault.OfPath("make", filepath.Dir(file), err)
	}
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600}
	return fault.OfPath("write", file, durable.WriteFile(file, append(content, '\n'), a))
}

func (st *state) forgetPrevious(unit string) error {
	err := os.Remove(st.previousPath(unit))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fault.OfPath("remove", st.previousPath(unit), err)
}

// keep remembers what the put is about to replace. What an earlier switch has kept that nobody has
// settled stays: what it has put in its place was never seen to work.
func (p *unitPut) keep(claimed *ledger.Claimed) error {
	if !p.req.GetKeepPrevious() {
		return p.st.forgetPrevious(p.name)
	}
	kept, err := p.st.previous(&claimed.Entry)
	if kept != nil || err != nil {
		return err
	}
	if p.same() || !p.was.Exists() || p.state.Active != "active" || claimed.Interrupted {
		return p.st.forgetPrevious(p.name)
	}
	p.kept = true
	return p.st.writePrevious(&previous{
		ID: claimed.ID, URN: claimed.URN, Stack: claimed.Stack, Generation: claimed.Generation,
		Configuration: p.was, Enabled: p.state.Enabled,
	})
}

// SettleUnit ends the switch of a unit.
func (s *Server) SettleUnit(ctx context.Context, req *agentpb.SettleUnitRequest) (*agentpb.SettleUnitResponse, error) {
	c := req.GetClaim()
	st, unlock, err := s.change(kindUnit, c)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := systemd.ValidName(c.GetId()); err != nil {
		return nil, err
	}
	entry, kept, err := st.ledger.Release(c)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, fault.New(agentpb.Reason_NOT_OWNED, "%s is left as it is: %s", c.GetId(), kept)
	}
	was, err := st.previous(entry)
	if err != nil {
		return nil, err
	}
	resp := &agentpb.SettleUnitResponse{}
	if req.GetRollBack() && was != nil {
		resp.RolledBack = true
		if resp.StartFailure, err = s.rollBack(ctx, st, c, was); err != nil {
			return nil, err
		}
	}
	if err := st.forgetPrevious(c.GetId()); err != nil {
		return nil, err
	}
	resp.State, err = s.observeUnit(ctx, c.GetId())
	return resp, err
}

// rollBack puts back what was there and starts it. It goes on when the caller is gone: half of
// each would be worse than either.
func (s *Server) rollBack(ctx context.Context, st *state, c *agentpb.Claim, was *previous) (startFailure string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollBackLimit)
	defer cancel()
	claimed, err := st.ledger.Begin(c, true, false, nil)
	if err != nil {
		return "", err
	}
	p := &unitPut{manager: s.systemd, files: s.unitFiles, st: st, name: was.ID, was: was.Configuration, state: &systemd.State{Enabled: was.Enabled}}
	if err := p.restore(ctx); err != nil {
		return "", fmt.Errorf("what was there before could not be put back: %w", err)
	}
	if err := p.startAgain(ctx); err != nil {
		startFailure = err.Error()
	}
	return startFailure, claimed.Finish()
}

// startAgain makes the unit run with the files that are there now.
func (p *unitPut) startAgain(ctx context.Context) error {
	now, err := p.manager.State(ctx, p.name)
	if err != nil {
		return err
	}
	if err := p.manager.ResetFailed(ctx, p.name); err != nil {
		return err
	}
	if now.Runs() {
		return p.manager.Restart(ctx, p.name)
	}
	return p.manager.Start(ctx, p.name)
}
