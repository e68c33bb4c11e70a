package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/container"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
	"github.com/llmhost/llmhost/internal/agent/quadlet"
)

var (
	quadletName  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	socketFolder = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
)

// userManager is a manager of a user's services.
type userManager interface {
	manager
	io.Closer
}

// quadletOf looks up where the quadlet of an id, USER/NAME, belongs.
func (s *Server) quadletOf(id string) (*userQuadlet, error) {
	user, name, ok := strings.Cut(id, "/")
	if !ok || !quadletName.MatchString(name) {
		return nil, fault.New(agentpb.Reason_INVALID, "%q is no quadlet: write USER/NAME, the name of a-z, 0-9 and -", id)
	}
	u, err := s.accounts.User(user)
	if err != nil {
		return nil, fault.OfPath("read", "the list of users", err)
	}
	if u == nil || u.UID == 0 {
		return nil, fault.New(agentpb.Reason_NO_SUCH_USER, "there is no user %q on the host that could run containers without privileges", user)
	}
	return &userQuadlet{
		Place: quadlet.Place{Root: s.unitFiles.Root, User: user, UID: int(u.UID), Home: u.Home, Name: name},
		id:    id, server: s, manager: s.managerOf(int(u.UID)),
	}, nil
}

// userQuadlet is one quadlet with the manager that runs it. Its user closes it.
type userQuadlet struct {
	quadlet.Place
	id      string
	server  *Server
	manager userManager
}

func (q *userQuadlet) service() string { return q.Name + ".service" }

func (q *userQuadlet) journal(ctx context.Context, unit string) []string {
	return q.server.userJournal(ctx, q.UID, unit)
}

// PutQuadlet installs a quadlet and makes it running as asked.
func (s *Server) PutQuadlet(ctx context.Context, req *agentpb.PutQuadletRequest) (*agentpb.PutQuadletResponse, error) {
	st, unlock, err := s.change(kindQuadlet, req.GetClaim())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if f := req.GetSocketFolder(); f != "" && !socketFolder.MatchString(f) {
		return nil, fault.New(agentpb.Reason_INVALID, "%q is no name of a folder in /run/llmhost", f)
	}
	q, err := s.quadletOf(req.GetClaim().GetId())
	if err != nil {
		return nil, err
	}
	defer q.manager.Close()
	was, err := q.Load()
	if err != nil {
		return nil, fault.OfPath("read", q.File(), err)
	}
	parents, err := q.MissingParents()
	if err != nil {
		return nil, fault.OfPath("look at the folder of", q.File(), err)
	}
	claimed, err := st.ledger.Begin(req.GetClaim(), was.Exists, false, parents)
	if err != nil {
		return nil, err
	}
	p := &quadletPut{userQuadlet: q, req: req, was: was, interrupted: claimed.Interrupted}
	if err := p.install(ctx, st.dir); err != nil {
		if !p.spoilt {
			// An entry that stays is incomplete, which the next run handles.
			_ = claimed.Revert()
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
		return nil, q.failed(ctx, claimed.Generation, operateErr)
	}
	state, err := q.observe(ctx)
	if err != nil {
		return nil, err
	}
	return &agentpb.PutQuadletResponse{Generation: claimed.Generation, Changed: p.changed, State: state}, nil
}

// quadletPut is one PutQuadlet on its way.
type quadletPut struct {
	*userQuadlet
	req *agentpb.PutQuadletRequest
	was *quadlet.Files // before

	interrupted bool // an earlier put was cut off: what runs may be of an older text
	rewritten   bool
	changed     bool
	spoilt      bool // what was there before could not be put back
}

// install makes the files right and has the user's manager read them. If it can't, the old ones
// come back.
func (p *quadletPut) install(ctx context.Context, temporary string) error {
	want := &quadlet.Files{Exists: true, Content: p.req.GetContent(), SocketFolder: p.req.GetSocketFolder()}
	if p.was.Content != want.Content {
		if err := p.Verify(ctx, temporary, want.Content); err != nil {
			return err
		}
	}
	if now, err := p.manager.State(ctx, p.service()); err != nil {
		return err
	} else if outdated := now.NeedsReload || now.Load != "loaded"; p.was.Same(want) && !outdated {
		return nil
	}
	p.changed, p.rewritten = true, p.was.Content != want.Content || len(p.was.Overrides) > 0
	err := p.Install(ctx, p.was, want)
	if err == nil {
		err = p.read(ctx)
	}
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	restoreErr := p.Install(ctx, want, p.was)
	if restoreErr == nil {
		restoreErr = p.manager.Reload(ctx)
	}
	if restoreErr != nil {
		p.spoilt = true
		return errors.Join(err, fmt.Errorf("what was there before could not be put back: %w", restoreErr))
	}
	return err
}

// read has the user's manager run Podman's generator, and refuses what that makes no service of.
func (p *quadletPut) read(ctx context.Context) error {
	if err := p.manager.Reload(ctx); err != nil {
		return err
	}
	now, err := p.manager.State(ctx, p.service())
	if err != nil {
		return err
	}
	if now.Load != "loaded" {
		return fault.New(agentpb.Reason_INVALID, "the manager of %s has made no service of %s (%s): %s", p.User, p.File(), now.Load, now.LoadError).
			With("path", p.File()).Hint("look at what Podman's generator says: journalctl -t podman-user-generator -t quadlet-generator")
	}
	return nil
}

// operate makes the service running as asked.
func (p *quadletPut) operate(ctx context.Context) error {
	now, err := p.manager.State(ctx, p.service())
	if err != nil {
		return err
	}
	if !p.req.GetRunning() {
		if now.Active != "inactive" && now.Active != "failed" {
			p.changed = true
			if err := p.manager.Stop(ctx, p.service()); err != nil {
				return err
			}
		}
		return p.manager.ResetFailed(ctx, p.service())
	}
	looping := now.Active == "activating" && now.Sub == "auto-restart"
	stale := p.rewritten || p.interrupted || p.req.GetRestart() || looping
	if now.Active == "active" && !stale {
		return nil
	}
	// A service that was started too often of late would be refused.
	if err := p.manager.ResetFailed(ctx, p.service()); err != nil {
		return err
	}
	p.changed = true
	if now.Runs() && stale {
		return p.manager.Restart(ctx, p.service())
	}
	return p.manager.Start(ctx, p.service())
}

// settled reports, after an operation that failed, that nothing of an older text can be left.
func (p *quadletPut) settled(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	now, err := p.manager.State(ctx, p.service())
	return err == nil && !now.Runs()
}

// failed adds to an error what the caller needs to keep the quadlet and to show why it fails.
func (q *userQuadlet) failed(ctx context.Context, generation uint64, err error) error {
	e := &fault.Error{Reason: agentpb.Reason_UNIT_FAILED, Message: err.Error(), Err: err}
	var ours *fault.Error
	if errors.As(err, &ours) {
		e = ours
	}
	e = e.With("unit", q.service()).With("generation", strconv.FormatUint(generation, 10))
	e.Reason = agentpb.Reason_UNIT_FAILED
	if lines := q.journal(ctx, q.service()); len(lines) > 0 {
		e = e.With("journal", strings.Join(lines, "\n"))
	}
	return e
}

// ObserveQuadlet describes a quadlet, its service and its container, and asks the server in it if
// that is wanted and it runs. A user who isn't there has no quadlets.
func (s *Server) ObserveQuadlet(ctx context.Context, req *agentpb.ObserveQuadletRequest) (*agentpb.QuadletState, error) {
	q, err := s.quadletOf(req.GetId())
	if noRuntime(err) {
		owned, err := s.owned(kindQuadlet, req.GetId())
		return &agentpb.QuadletState{Owned: owned}, err
	}
	if err != nil {
		return nil, err
	}
	defer q.manager.Close()
	resp, err := q.observe(ctx)
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

func (q *userQuadlet) observe(ctx context.Context) (*agentpb.QuadletState, error) {
	owned, err := q.server.owned(kindQuadlet, q.id)
	if err != nil {
		return nil, err
	}
	files, err := q.Load()
	if err != nil {
		return nil, fault.OfPath("read", q.File(), err)
	}
	resp := &agentpb.QuadletState{
		Exists: files.Exists, Content: files.Content, SocketFolder: files.SocketFolder, Overrides: files.Overrides, Owned: owned,
	}
	state, err := q.manager.State(ctx, q.service())
	if fault.ReasonOf(err) == agentpb.Reason_NO_SYSTEMD { // the user's manager doesn't run, and so nothing of it
		resp.ActiveState = "inactive"
		return resp, nil
	}
	if err != nil {
		return nil, err
	}
	resp.ActiveState, resp.SubState, resp.Result = state.Active, state.Sub, state.Result
	resp.Restarts, resp.NeedDaemonReload = state.Restarts, state.NeedsReload
	for _, file := range state.DropInPaths { // those of the distribution are for all services
		if !strings.HasPrefix(file, "/usr/") && !slices.Contains(resp.Overrides, file) {
			resp.Overrides = append(resp.Overrides, file)
		}
	}
	slices.Sort(resp.Overrides)
	if state.Active == "failed" || state.Sub == "auto-restart" {
		resp.Journal = q.journal(ctx, q.service())
	}
	if state.Active != "active" {
		return resp, nil
	}
	podman, err := q.server.containers.Runtime(container.Podman, q.User)
	if err != nil {
		return nil, err
	}
	resp.Container, err = podman.Running(ctx, q.Name)
	return resp, err
}

// AwaitQuadlet waits until the server in a quadlet's container has really answered.
func (s *Server) AwaitQuadlet(req *agentpb.AwaitQuadletRequest, stream grpc.ServerStreamingServer[agentpb.ReadyEvent]) error {
	q, err := s.quadletOf(req.GetId())
	if err != nil {
		return err
	}
	defer q.manager.Close()
	return (&wait{server: s, manager: q.manager, journal: q.journal, unit: q.service(), readiness: req.GetReadiness(), stream: stream}).run()
}

// removeQuadlet stops a quadlet's service and removes its files. What can't be stopped stays.
func (s *Server) removeQuadlet(ctx context.Context, st *state, e *ledger.Entry) (removal, error) {
	q, err := s.quadletOf(e.ID)
	if fault.ReasonOf(err) == agentpb.Reason_NO_SUCH_USER {
		return removal{}, nil // with its user went all that was its
	}
	if err != nil {
		return removal{}, err
	}
	defer q.manager.Close()
	was, err := q.Load()
	if err != nil {
		return removal{}, fault.OfPath("read", q.File(), err)
	}
	state, err := q.manager.State(ctx, q.service())
	runs := fault.ReasonOf(err) != agentpb.Reason_NO_SYSTEMD
	if runs && err != nil {
		return removal{}, err
	}
	if runs && state.Active != "inactive" && state.Active != "failed" {
		if err := q.manager.Stop(ctx, q.service()); err != nil {
			return removal{}, err
		}
	}
	if err := q.Install(ctx, was, &quadlet.Files{}); err != nil {
		return removal{}, fault.OfPath("remove", q.File(), err)
	}
	st.removeParents(e)
	if runs {
		if err := q.manager.Reload(ctx); err != nil {
			return removal{}, err
		}
		if err := q.manager.ResetFailed(ctx, q.service()); err != nil {
			return removal{}, err
		}
	}
	return removal{removed: was.Exists}, nil
}
