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

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/docker"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
)

// PutCompose installs a compose project and makes its containers, so that they consist of its text
// alone, and waits until its servers answer. What was there before comes back when they don't.
func (s *Server) PutCompose(req *agentpb.PutComposeRequest, stream grpc.ServerStreamingServer[agentpb.ComposeEvent]) error {
	ctx := stream.Context()
	st, unlock, err := s.change(kindCompose, req.GetClaim())
	if err != nil {
		return err
	}
	defer unlock()
	name := req.GetClaim().GetId()
	if err := validProject(name); err != nil {
		return err
	}
	wanted, err := s.composeFiles(req)
	if err != nil {
		return err
	}
	p := &composePut{
		server: s, st: st, name: name, wanted: wanted, readiness: req.GetReadiness(), tool: s.compose(st, name),
		say: func(line string) { _ = stream.Send(&agentpb.ComposeEvent{Progress: line}) }, // a caller who is gone is found by ctx
	}
	if err := s.docker.Ping(ctx); err != nil {
		return err
	}
	if p.was, err = loadComposeFiles(name); err != nil {
		return err
	}
	if p.before, err = s.docker.Containers(ctx, name); err != nil {
		return err
	}
	if err := p.tool.Check(ctx, wanted.content, wanted.env); err != nil {
		return err
	}
	claimed, err := st.ledger.Begin(req.GetClaim(), p.was != nil || len(p.before) > 0, true, nil)
	if err != nil {
		return err
	}
	p.interrupted = claimed.Interrupted
	if err := p.apply(ctx); err != nil {
		return p.failed(ctx, claimed, err)
	}
	if err := claimed.Finish(); err != nil {
		return err
	}
	return stream.Send(&agentpb.ComposeEvent{Result: &agentpb.ChangeResponse{Generation: claimed.Generation, Changed: p.changed}})
}

// validProject is what Compose takes as a project's name (Compose specification, name).
func validProject(name string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789_-"
	if name == "" || len(name) > 63 || strings.Trim(name, allowed) != "" || strings.ContainsAny(name[:1], "_-") {
		return fault.New(agentpb.Reason_INVALID, "%q is no name for a compose project: a-z, 0-9, _ and -, a letter or digit first, 63 at most", name)
	}
	return nil
}

func (s *Server) compose(st *state, name string) docker.Compose {
	return docker.Compose{
		Socket: s.docker.Socket, Project: name, Folder: composeFolder(name),
		File: composePath(name), EnvFile: composeEnvPath(name), Nowhere: st.dir + "/no-docker-configuration",
	}
}

// composePut is one PutCompose on its way.
type composePut struct {
	server    *Server
	st        *state
	name      string
	tool      docker.Compose
	wanted    *composeFiles
	readiness map[string]*agentpb.Readiness
	say       func(string)

	was         *composeFiles // nil: there were none
	before      []*docker.Container
	interrupted bool
	changed     bool
}

// apply makes the files right and the containers as they say, and waits for the servers.
func (p *composePut) apply(ctx context.Context) error {
	rewritten, err := p.wanted.install(p.name, p.was)
	if err != nil {
		return err
	}
	p.changed = rewritten
	// Compose makes a container anew when its text has changed, and not when somebody has changed
	// the container.
	applied, err := p.st.loadApplied(p.name)
	if err != nil {
		return err
	}
	if spoilt := spoiltServices(applied, p.before); len(spoilt) > 0 && !p.interrupted {
		p.changed = true
		if err := p.tool.RemoveServices(ctx, p.say, spoilt...); err != nil {
			return err
		}
	}
	if err := p.tool.Up(ctx, p.say); err != nil {
		return err
	}
	now, err := p.await(ctx, p.readiness)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(p.before, now, func(a, b *docker.Container) bool { return a.ID == b.ID && a.State == b.State }) {
		p.changed = true
	}
	return p.st.saveApplied(p.name, now)
}

// failed brings back what was there before, if that was whole. Without one, what was made stays: it
// is the caller's, who sees why it doesn't work and changes it.
func (p *composePut) failed(ctx context.Context, claimed *ledger.Claimed, err error) error {
	failed := &fault.Error{Reason: agentpb.Reason_CONTAINER_FAILED, Message: err.Error(), Err: err}
	var ours *fault.Error
	if errors.As(err, &ours) {
		failed = ours
	}
	failed = failed.With("project", p.name)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	if p.was == nil || p.interrupted || p.was.same(p.wanted) {
		if err := claimed.Finish(); err != nil {
			return err
		}
		failed.Reason = agentpb.Reason_CONTAINER_FAILED
		return failed.With("generation", strconv.FormatUint(claimed.Generation, 10))
	}
	p.say("it doesn't work: bringing back the project that was there before")
	if back := p.rollBack(ctx); back != nil {
		failed.Message += fmt.Sprintf("; and the project that was there before could not be brought back: %v", back)
		return failed // the claim stays incomplete, which the next put handles
	}
	if err := claimed.Revert(); err != nil {
		return err
	}
	failed.Message += "; the project that was there before runs again"
	return failed.With("rolled_back", "true")
}

// rollbackTimeout bounds the way back, which takes a start of what has started before.
const rollbackTimeout = 15 * time.Minute

func (p *composePut) rollBack(ctx context.Context) error {
	if _, err := p.was.install(p.name, p.wanted); err != nil {
		return err
	}
	if err := p.tool.Up(ctx, p.say); err != nil {
		return err
	}
	now, err := p.server.docker.Containers(ctx, p.name)
	if err != nil {
		return err
	}
	return p.st.saveApplied(p.name, now)
}

// ObserveCompose compares the containers of a project with what was applied, and asks the servers
// behind them if that is wanted and they run.
func (s *Server) ObserveCompose(ctx context.Context, req *agentpb.ObserveComposeRequest) (*agentpb.ComposeState, error) {
	name := req.GetName()
	if err := validProject(name); err != nil {
		return nil, err
	}
	owned, err := s.owned(kindCompose, name)
	if err != nil {
		return nil, err
	}
	is, err := loadComposeFiles(name)
	if err != nil {
		return nil, err
	}
	containers, err := s.docker.Containers(ctx, name)
	if err != nil {
		// Without Docker there are no containers, which is a finding and no reason to know nothing.
		if fault.ReasonOf(err) != agentpb.Reason_NO_TOOL || is == nil {
			return nil, err
		}
	}
	applied, err := s.use().loadApplied(name)
	if err != nil {
		return nil, err
	}
	resp := &agentpb.ComposeState{Exists: is != nil || len(containers) > 0, Owned: owned, Differences: differences(applied, containers)}
	if is != nil {
		resp.Content = is.content
		maps.Copy(resp.Differences, s.composeFolderDifferences(is))
	}
	for _, c := range containers {
		resp.Containers = append(resp.Containers, &agentpb.ComposeContainer{
			Service: c.Service, Name: c.Name, Image: c.Image, ConfigHash: c.ConfigHash, State: c.State, Health: c.Health,
			Restarts: c.Restarts, OomKilled: c.OOMKilled, ExitCode: c.ExitCode,
		})
	}
	slices.SortFunc(resp.Containers, func(a, b *agentpb.ComposeContainer) int {
		return strings.Compare(a.GetService()+"\x00"+a.GetName(), b.GetService()+"\x00"+b.GetName())
	})
	for service, r := range req.GetReadiness() {
		if _, known := resp.Differences[service+".state"]; known {
			continue
		}
		if err := s.ask(ctx, r); err != nil {
			resp.Differences[service+".state"] = "unresponsive: " + err.Error()
		}
	}
	return resp, nil
}

// removeCompose removes the containers, and then the files that say what they are.
func (s *Server) removeCompose(ctx context.Context, st *state, e *ledger.Entry) (removal, error) {
	is, err := loadComposeFiles(e.ID)
	if err != nil {
		return removal{}, err
	}
	there, err := s.docker.Installed(ctx)
	if err != nil {
		return removal{}, err
	}
	if there {
		tool := s.compose(st, e.ID)
		if is == nil {
			tool.File = ""
		}
		if err := tool.Down(ctx); err != nil {
			return removal{}, fault.New(agentpb.Reason_CONTAINER_FAILED, "the project %s could not be removed: %v", e.ID, err).With("project", e.ID)
		}
	}
	if err := removeComposeFiles(e.ID, is); err != nil {
		return removal{}, err
	}
	return removal{removed: is != nil}, st.forgetApplied(e.ID)
}
