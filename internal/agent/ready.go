package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/credential"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/systemd"
)

const (
	// lookEvery is how often the unit is looked at, and the server asked again, while it isn't
	// ready.
	lookEvery = time.Second
	// speakEvery is how often the same progress is said again.
	speakEvery = 10 * time.Second
	// hopeless is after how many new restarts the waiting ends: what has failed three times in
	// a row fails the fourth time too.
	hopeless = 3
	// settleTime is how long a unit that nobody can ask may take until it begins to run steadily.
	settleTime = time.Minute
	// maxReadySeconds bounds what a caller may ask for.
	maxReadySeconds = 24 * 60 * 60
)

// ask asks a server once, within the time that it is given.
func (s *Server) ask(ctx context.Context, r *agentpb.Readiness) error {
	limit := time.Duration(min(max(r.GetTimeoutSeconds(), 1), maxReadySeconds)) * time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := s.askOnce(ctx, r)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", limit)
	}
	return err
}

// askOnce asks a server with its key, if it has one. The key is read anew each time: it may have
// been rotated meanwhile.
func (s *Server) askOnce(ctx context.Context, r *agentpb.Readiness) error {
	key := ""
	if path := r.GetCredential(); path != "" {
		if err := validPath(path); err != nil {
			return err
		}
		var err error
		if key, err = credential.APIKey(ctx, path); err != nil {
			return fmt.Errorf("its API key can't be read: %v", err) // not as what is missing of the server
		}
	}
	return s.servers.Ask(ctx, r.GetAddress(), r.GetModel(), key)
}

// AwaitReady waits until the server behind a unit has really answered.
func (s *Server) AwaitReady(req *agentpb.AwaitReadyRequest, stream grpc.ServerStreamingServer[agentpb.ReadyEvent]) error {
	if err := systemd.ValidName(req.GetUnit()); err != nil {
		return err
	}
	w := &wait{server: s, manager: s.systemd, journal: s.journal, unit: req.GetUnit(), readiness: req.GetReadiness(), stream: stream}
	w.steady = time.Duration(req.GetSteadySeconds()) * time.Second
	return w.run()
}

// run waits, and sends what has come of it.
func (w *wait) run() error {
	reasons, err := w.reasons()
	if err != nil {
		return err
	}
	return w.stream.Send(&agentpb.ReadyEvent{Done: true, Ready: len(reasons) == 0, Reasons: reasons})
}

// reasons waits until the server has answered, and returns why if it never will.
func (w *wait) reasons() ([]string, error) {
	limit := time.Duration(w.readiness.GetTimeoutSeconds()) * time.Second
	if w.readiness == nil {
		limit = w.steady + settleTime
	}
	if (w.readiness == nil) != (w.steady > 0) || limit <= 0 || limit > maxReadySeconds*time.Second {
		return nil, fault.New(agentpb.Reason_INVALID, "say how to ask the server and for how long, 1 s to a day, or how long the unit has to run")
	}
	ctx, cancel := context.WithTimeout(w.stream.Context(), limit)
	defer cancel()
	w.begun = time.Now()
	reasons, err := w.until(ctx)
	switch {
	case w.stream.Context().Err() != nil:
		return nil, w.stream.Context().Err()
	case errors.Is(err, context.DeadlineExceeded):
		return append([]string{fmt.Sprintf("%s has not answered within %s: %s", w.unit, limit, w.said)}, w.journal(w.stream.Context(), w.unit)...), nil
	}
	return reasons, err
}

// wait is one AwaitReady on its way, or one AwaitQuadlet.
type wait struct {
	server    *Server
	manager   manager
	journal   func(ctx context.Context, unit string) []string
	unit      string
	readiness *agentpb.Readiness // nil: it has to run for a while
	steady    time.Duration
	stream    grpc.ServerStreamingServer[agentpb.ReadyEvent]
	begun     time.Time

	said   string
	saidAt time.Time
}

// until returns without reasons when the server has answered, and with reasons when it never
// will.
func (w *wait) until(ctx context.Context) (reasons []string, err error) {
	first, err := w.manager.State(ctx, w.unit)
	if err != nil {
		return nil, err
	}
	answers := make(chan error, 1)
	asking := false
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	progress := "waiting for its server"
	if w.readiness == nil {
		progress = "waiting whether it goes on running"
	}
	since, pid := time.Now(), first.MainPID
	for {
		state, err := w.manager.State(ctx, w.unit)
		if err != nil {
			return nil, firstOf(ctx.Err(), err)
		}
		if reasons := w.failed(ctx, first, state); reasons != nil {
			return reasons, nil
		}
		if w.readiness == nil {
			if state.Active != "active" || state.MainPID != pid {
				since, pid = time.Now(), state.MainPID
			} else if time.Since(since) >= w.steady {
				return nil, nil
			}
		} else if state.Active == "active" && !asking {
			asking = true
			go func() { answers <- w.server.askOnce(ctx, w.readiness) }()
		}
		if state.Active != "active" {
			progress = "the unit is " + state.Active
		}
		if err := w.say(progress); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case err := <-answers:
			if err == nil {
				return nil, nil
			}
			asking = false
			progress = err.Error()
			if errors.Is(err, fs.ErrNotExist) {
				progress = "waiting for its socket"
			}
		case <-look.C:
			continue
		}
		select { // before asking again
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-look.C:
		}
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// failed returns why there is nothing to wait for any more.
func (w *wait) failed(ctx context.Context, first, now *systemd.State) []string {
	var why string
	switch {
	case now.Active == "failed":
		why = fmt.Sprintf("%s has failed (result: %s)", w.unit, now.Result)
	case now.Active == "inactive":
		why = w.unit + " is not running"
	case now.Restarts >= first.Restarts+hopeless:
		why = fmt.Sprintf("%s was started again %d times (result: %s)", w.unit, now.Restarts-first.Restarts, now.Result)
	default:
		return nil
	}
	return append([]string{why}, w.journal(ctx, w.unit)...)
}

// say sends a line of progress when it is a new one, and now and then when it isn't.
func (w *wait) say(progress string) error {
	if progress == w.said && time.Since(w.saidAt) < speakEvery {
		return nil
	}
	w.said, w.saidAt = progress, time.Now()
	after := time.Since(w.begun).Round(time.Second)
	return w.stream.Send(&agentpb.ReadyEvent{Progress: fmt.Sprintf("%s (%s)", strings.TrimSuffix(progress, "."), after)})
}
