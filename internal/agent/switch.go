package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/systemd"
)

// SwitchUnit starts a unit in place of the others of its group. They conflict with it, so that systemd stops whichever runs
// before it starts this one, and no two of them ever hold the same memory.
func (s *Server) SwitchUnit(req *agentpb.SwitchUnitRequest, stream grpc.ServerStreamingServer[agentpb.ReadyEvent]) error {
	st := s.use()
	if !st.lease.Held() {
		return fault.New(agentpb.Reason_LEASE_REQUIRED, "a change needs the host's lease, which this connection does not hold")
	}
	for _, unit := range append([]string{req.GetUnit()}, req.GetOthers()...) {
		if err := systemd.ValidName(unit); err != nil {
			return err
		}
		owned, err := s.owned(kindUnit, unit)
		if err != nil {
			return err
		}
		if owned == nil {
			return fault.New(agentpb.Reason_NOT_OWNED, "%s isn't llmhost's: deploy it first", unit).With("unit", unit)
		}
	}
	ctx := stream.Context()
	running, err := s.runningOf(ctx, req.GetOthers())
	if err != nil {
		return err
	}
	now, err := s.systemd.State(ctx, req.GetUnit())
	if err != nil {
		return err
	}
	if running != "" || !now.Runs() {
		if err := s.startUnit(ctx, req.GetUnit()); err != nil {
			return s.switchBack(ctx, stream, req.GetUnit(), running, []string{err.Error()})
		}
	}
	w := &wait{server: s, manager: s.systemd, journal: s.journal, unit: req.GetUnit(), readiness: req.GetReadiness(), stream: stream}
	reasons, err := w.reasons()
	switch {
	case err != nil && ctx.Err() != nil:
		// Nobody waits any more: which of the two is right isn't known, so that the one that was asked for stays.
		return ctx.Err()
	case err != nil:
		return err
	case len(reasons) > 0:
		return s.switchBack(ctx, stream, req.GetUnit(), running, reasons)
	}
	return stream.Send(&agentpb.ReadyEvent{Done: true, Ready: true})
}

// runningOf is the first of the units that runs, "" if none does.
func (s *Server) runningOf(ctx context.Context, units []string) (string, error) {
	for _, unit := range units {
		state, err := s.systemd.State(ctx, unit)
		if err != nil {
			return "", err
		}
		if state.Runs() {
			return unit, nil
		}
	}
	return "", nil
}

// startUnit starts a unit even if it was started too often of late.
func (s *Server) startUnit(ctx context.Context, unit string) error {
	if err := s.systemd.ResetFailed(ctx, unit); err != nil {
		return err
	}
	return s.systemd.Start(ctx, unit)
}

// switchBack starts what ran before, and says why.
func (s *Server) switchBack(ctx context.Context, stream grpc.ServerStreamingServer[agentpb.ReadyEvent], unit, before string, reasons []string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if before == "" {
		return stream.Send(&agentpb.ReadyEvent{Done: true, Reasons: append(reasons, "no other server of the group ran before")})
	}
	// The one that didn't work is stopped first, since its restarts would stop the other again.
	err := errors.Join(s.systemd.Stop(ctx, unit), s.startUnit(ctx, before))
	if err != nil {
		reasons = append(reasons, fmt.Sprintf("%s, which ran before, could not be started again: %v", before, err))
	} else {
		reasons = append(reasons, before+" runs again, as before")
	}
	return stream.Send(&agentpb.ReadyEvent{Done: true, Reasons: reasons})
}
