package provider_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/transfer"
)

// fakeAgent is an agent of a machine that doesn't exist: it keeps users and units in memory,
// by the protocol's rules of ownership. Files, models and engines are tested against the real
// agent.
type fakeAgent struct {
	agentpb.UnimplementedAgentServer

	mu    sync.Mutex
	users map[string]*agentpb.UserState
	units map[string]*agentpb.UnitState
	// previous are what switches have replaced. failOld and readyAfterRollback are how these fare
	// when they come back.
	previous           map[string]*agentpb.UnitState
	failOld            string
	readyAfterRollback []*agentpb.ReadyEvent
	ledger             map[string]*agentpb.Owned
	clock              uint64

	failUser   error                            // PutUser fails with this after it has written its claim
	starts     map[string]int                   // starts and restarts of each unit
	failStart  map[string]string                // journal of units that systemd fails to start
	readiness  map[string][]*agentpb.ReadyEvent // what AwaitReady says of a unit
	failsLater map[string][]string              // journal of units that fail after their start
	waitEnds   error                            // AwaitReady ends with this after its events
	unanswered map[string]string                // servers that don't answer, with the error
}

func newFakeAgent() *fakeAgent {
	return &fakeAgent{
		users: map[string]*agentpb.UserState{}, units: map[string]*agentpb.UnitState{}, previous: map[string]*agentpb.UnitState{},
		ledger: map[string]*agentpb.Owned{}, starts: map[string]int{}, failStart: map[string]string{},
		readiness: map[string][]*agentpb.ReadyEvent{}, unanswered: map[string]string{},
		failsLater: map[string][]string{},
	}
}

// take writes a claim into the ledger, or refuses it.
func (f *fakeAgent) take(c *agentpb.Claim, exists bool) (*agentpb.Owned, error) {
	key := c.GetKind() + " " + c.GetId()
	old := f.ledger[key]
	switch {
	case old != nil && (old.GetUrn() != c.GetUrn() || old.GetStack() != c.GetStack()):
		return nil, refuse(agentpb.Reason_OTHER_OWNER, fmt.Sprintf("%s belongs to %s of stack %s", c.GetId(), old.GetUrn(), old.GetStack()), nil)
	case old != nil && c.GetGeneration() != 0 && c.GetGeneration() != old.GetGeneration():
		return nil, refuse(agentpb.Reason_NOT_OWNED, c.GetId()+" has another generation", nil)
	case old == nil && exists && !c.GetAdopt():
		return nil, refuse(agentpb.Reason_NOT_OWNED, c.GetId()+" exists and isn't llmhost's", map[string]string{"hint": "adopt = true takes it over"})
	}
	f.clock++
	now := &agentpb.Owned{Kind: c.GetKind(), Id: c.GetId(), Urn: c.GetUrn(), Stack: c.GetStack(), Generation: 1_700_000_000_000_000 + f.clock, Complete: true,
		Adopted: old.GetAdopted() || old == nil && exists}
	f.ledger[key] = now
	return now, nil
}

func refuse(reason agentpb.Reason, message string, metadata map[string]string) error {
	st, err := status.New(codes.FailedPrecondition, message).WithDetails(&errdetails.ErrorInfo{
		Domain: agentpb.ErrorDomain, Reason: reason.String(), Metadata: metadata,
	})
	if err != nil {
		panic(err)
	}
	return st.Err()
}

func (f *fakeAgent) AcquireLease(context.Context, *agentpb.AcquireLeaseRequest) (*agentpb.AcquireLeaseResponse, error) {
	return &agentpb.AcquireLeaseResponse{}, nil
}

func (f *fakeAgent) ListOwned(_ context.Context, _ *agentpb.ListOwnedRequest) (*agentpb.ListOwnedResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &agentpb.ListOwnedResponse{Owned: slices.Collect(maps.Values(f.ledger))}, nil
}

func (f *fakeAgent) ObserveUser(_ context.Context, req *agentpb.ObserveUserRequest) (*agentpb.UserState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.users[req.GetName()]
	if u == nil {
		return &agentpb.UserState{}, nil
	}
	u = proto.CloneOf(u)
	u.Owned = f.ledger["SystemUser "+req.GetName()]
	return u, nil
}

func (f *fakeAgent) PutUser(_ context.Context, req *agentpb.PutUserRequest) (*agentpb.ChangeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := req.GetClaim().GetId()
	owned, err := f.take(req.GetClaim(), f.users[name] != nil)
	if err != nil {
		return nil, err
	}
	if f.failUser != nil {
		owned.Complete = false
		return nil, f.failUser
	}
	f.users[name] = &agentpb.UserState{Exists: true, Group: name, Groups: req.GetGroups(), Home: req.GetHome(),
		Shell: req.GetShell(), Comment: req.GetComment(), Locked: true}
	return &agentpb.ChangeResponse{Generation: owned.GetGeneration(), Changed: true}, nil
}

func (f *fakeAgent) ObserveUnit(_ context.Context, req *agentpb.ObserveUnitRequest) (*agentpb.UnitState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.units[req.GetName()]
	if u == nil {
		return &agentpb.UnitState{ActiveState: "inactive"}, nil
	}
	u = proto.CloneOf(u)
	u.Owned = f.ledger["SystemdUnit "+req.GetName()]
	if req.GetReadiness() != nil && u.GetActiveState() == "active" {
		u.Asked, u.AnswerError = true, f.unanswered[req.GetName()]
		u.Answered = u.GetAnswerError() == ""
	}
	return u, nil
}

func (f *fakeAgent) PutUnit(_ context.Context, req *agentpb.PutUnitRequest) (*agentpb.PutUnitResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := req.GetClaim().GetId()
	old := f.units[name]
	owned, err := f.take(req.GetClaim(), old != nil)
	if err != nil {
		return nil, err
	}
	now := &agentpb.UnitState{Exists: true, Content: req.GetContent(), Enabled: req.GetEnabled(), DropIns: req.GetDropIns(), ActiveState: "inactive"}
	if req.GetKeepPrevious() && old.GetActiveState() == "active" && old.GetContent() != now.GetContent() && f.previous[name] == nil {
		f.previous[name] = old
	}
	f.units[name] = now
	if !req.GetRunning() {
		return &agentpb.PutUnitResponse{Generation: owned.GetGeneration(), Changed: true, State: now}, nil
	}
	if journal, ok := f.failStart[name]; ok {
		now.ActiveState = "failed"
		return nil, refuse(agentpb.Reason_UNIT_FAILED, "systemd could not start "+name, map[string]string{
			"generation": strconv.FormatUint(owned.GetGeneration(), 10), "journal": journal})
	}
	if journal, ok := f.failsLater[name]; ok {
		now.ActiveState, now.Result, now.Journal = "failed", "exit-code", journal
		return &agentpb.PutUnitResponse{Generation: owned.GetGeneration(), Changed: true, State: now}, nil
	}
	now.ActiveState, now.SubState = "active", "running"
	if old.GetActiveState() != "active" || old.GetContent() != now.GetContent() || req.GetRestart() {
		f.starts[name]++
	}
	return &agentpb.PutUnitResponse{Generation: owned.GetGeneration(), Changed: true, State: now}, nil
}

func (f *fakeAgent) SettleUnit(_ context.Context, req *agentpb.SettleUnitRequest) (*agentpb.SettleUnitResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := req.GetClaim().GetId()
	if owned := f.ledger["SystemdUnit "+name]; owned.GetGeneration() != req.GetClaim().GetGeneration() {
		return nil, refuse(agentpb.Reason_NOT_OWNED, name+" has another generation", nil)
	}
	resp := &agentpb.SettleUnitResponse{}
	if was := f.previous[name]; was != nil && req.GetRollBack() {
		f.units[name], resp.RolledBack = was, true
		resp.StartFailure = f.failOld
		f.readiness[name] = f.readyAfterRollback
	}
	delete(f.previous, name)
	resp.State = f.units[name]
	return resp, nil
}

func (f *fakeAgent) AwaitReady(req *agentpb.AwaitReadyRequest, stream grpc.ServerStreamingServer[agentpb.ReadyEvent]) error {
	f.mu.Lock()
	events, end := f.readiness[req.GetUnit()], f.waitEnds
	f.mu.Unlock()
	for _, e := range events {
		if err := stream.Send(e); err != nil {
			return err
		}
	}
	return end
}

func (f *fakeAgent) Remove(_ context.Context, req *agentpb.RemoveRequest) (*agentpb.RemoveResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := req.GetClaim()
	key := c.GetKind() + " " + c.GetId()
	switch owned := f.ledger[key]; {
	case owned == nil:
		return &agentpb.RemoveResponse{KeptBecause: "it isn't in the ledger"}, nil
	case owned.GetUrn() != c.GetUrn() || owned.GetStack() != c.GetStack():
		return &agentpb.RemoveResponse{KeptBecause: "it belongs to " + owned.GetUrn()}, nil
	case owned.GetGeneration() != c.GetGeneration():
		return &agentpb.RemoveResponse{KeptBecause: "a newer resource has taken its place"}, nil
	}
	delete(f.ledger, key)
	delete(f.users, c.GetId())
	delete(f.units, c.GetId())
	return &agentpb.RemoveResponse{Removed: true}, nil
}

// host is a connection to an agent, as the provider sees one.
type host struct {
	conn   *grpc.ClientConn
	client agentpb.AgentClient
	lane   func(context.Context, io.ReadWriteCloser) error // of a real agent
	mu     sync.Mutex
	calls  []string // the agent's methods that were called

	unreachable error // of new connections
}

// connectTo serves an agent in memory.
func connectTo(t *testing.T, agent agentpb.AgentServer, opts ...grpc.ServerOption) *host {
	t.Helper()
	h := &host{}
	opts = append(opts, grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		h.note(info.FullMethod)
		return next(ctx, req)
	}), grpc.ChainStreamInterceptor(func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		h.note(info.FullMethod)
		return next(srv, ss)
	}))
	h.use(serveInMemory(t, func(s *grpc.Server) { agentpb.RegisterAgentServer(s, agent) }, opts...))
	return h
}

func (h *host) use(conn *grpc.ClientConn) {
	h.conn, h.client = conn, agentpb.NewAgentClient(inWords{conn})
}

func (h *host) note(method string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, method[len("/"+agentpb.Agent_ServiceDesc.ServiceName+"/"):])
}

func (h *host) called() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

func (h *host) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = nil
}

func (h *host) Agent() agentpb.AgentClient { return h.client }

func (h *host) Lease(ctx context.Context) error {
	_, err := h.client.AcquireLease(ctx, &agentpb.AcquireLeaseRequest{SessionId: h.Session(), Holder: "the test"})
	return err
}

func (h *host) Bulk(context.Context) (agentpb.AgentClient, io.Closer, error) {
	return h.Agent(), io.NopCloser(nil), nil
}

func (h *host) Fresh(context.Context) (agentpb.AgentClient, io.Closer, error) {
	if h.unreachable != nil {
		return nil, nil, h.unreachable
	}
	return h.Agent(), io.NopCloser(nil), nil
}

// Lane is a pipe to the agent, which is the one behind Agent.
func (h *host) Lane(ctx context.Context) (io.ReadWriteCloser, error) {
	if h.lane == nil {
		return nil, errors.New("a fake agent takes no models")
	}
	ours, theirs := net.Pipe()
	go func() { _ = h.lane(context.WithoutCancel(ctx), theirs) }() // the client is told
	return lane{ours, ctx}, nil
}

func (h *host) ExtraLane(ctx context.Context) (io.ReadWriteCloser, error) { return h.Lane(ctx) }
func (h *host) RTT() time.Duration                                        { return 0 }

// lane puts errors into package remote's words, as a real one does.
type lane struct {
	net.Conn
	ctx context.Context
}

func (l lane) Translate(err error) error {
	var said interface{ GRPCStatus() *status.Status }
	switch {
	case l.ctx.Err() != nil:
		return fmt.Errorf("the push was cancelled: %w", l.ctx.Err())
	case errors.As(err, &said):
		return remoteError(err)
	case errors.Is(err, transfer.ErrCut):
		return fmt.Errorf("%w: %w", remote.ErrUnreachable, err)
	default:
		return err
	}
}

func (h *host) Session() string { return "session" }

// inWords is a connection whose errors are package remote's, as on a real connection.
type inWords struct{ grpc.ClientConnInterface }

func (c inWords) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return remoteError(c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...))
}

func (c inWords) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	return streamInWords{s}, remoteError(err)
}

type streamInWords struct{ grpc.ClientStream }

func (s streamInWords) RecvMsg(m any) error { return remoteError(s.ClientStream.RecvMsg(m)) }

func remoteError(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	st := status.Convert(err)
	out := &remote.Error{Message: st.Message()}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			out.Reason = agentpb.Reason(agentpb.Reason_value[info.GetReason()])
			out.Metadata, out.Hint = info.GetMetadata(), info.GetMetadata()["hint"]
		}
	}
	return out
}
