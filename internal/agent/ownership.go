package agent

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
)

// The kinds of things that can be claimed.
const (
	kindFile      = "File"
	kindDirectory = "Directory"
	kindUser      = "SystemUser"
	kindUnit      = "SystemdUnit"
	kindModel     = "Model"
	kindEngine    = "Engine"
	kindProgram   = "Program"
	kindImage     = "Image"

	kindCredential = "Credential"
	kindQuadlet    = "Quadlet"
	kindEngineRoot = "EngineRoot"
	kindPackage    = "Package"
	kindVenv       = "Venv"
	kindCompose    = "ComposeProject"
)

// AcquireLease makes this agent's session the one that may change the host.
func (s *Server) AcquireLease(ctx context.Context, req *agentpb.AcquireLeaseRequest) (*agentpb.AcquireLeaseResponse, error) {
	wait := time.Duration(req.GetWaitSeconds()) * time.Second
	if err := s.use().lease.Acquire(ctx, req.GetSessionId(), req.GetHolder(), wait); err != nil {
		return nil, err
	}
	// Whoever has made a change that still waits is gone, or the lease would be taken.
	if err := s.guardOf(s.use()).UndoAll(ctx, "the run that has made it has ended"); err != nil {
		return nil, err
	}
	return &agentpb.AcquireLeaseResponse{}, nil
}

// ListOwned lists the ledger.
func (s *Server) ListOwned(_ context.Context, req *agentpb.ListOwnedRequest) (*agentpb.ListOwnedResponse, error) {
	entries, err := s.use().ledger.List()
	if err != nil {
		return nil, err
	}
	resp := &agentpb.ListOwnedResponse{}
	for _, e := range entries {
		if req.GetStack() == "" || req.GetStack() == e.Stack {
			resp.Owned = append(resp.Owned, e.Proto())
		}
	}
	return resp, nil
}

// change begins a changing call: the claim is sound, the lease is held, and nothing else
// changes the same thing until unlock.
func (s *Server) change(kind string, c *agentpb.Claim) (st *state, unlock func(), err error) {
	st = s.use()
	if !st.lease.Held() {
		return nil, nil, fault.New(agentpb.Reason_LEASE_REQUIRED, "a change needs the host's lease, which this connection does not hold")
	}
	return s.changeInSession(st, kind, c)
}

// streamHeader is what comes before the bytes of something large.
type streamHeader interface {
	GetSessionId() string
	GetClaim() *agentpb.Claim
	GetSize() uint64
	GetSha256() string
}

// changeByStream is change for what comes over a connection of its own, which belongs to the
// session of the one that holds the lease.
func (s *Server) changeByStream(kind string, h streamHeader) (*state, func(), error) {
	st := s.use()
	if err := st.lease.Join(h.GetSessionId()); err != nil {
		return nil, nil, err
	}
	if err := validIncoming(h.GetSize(), h.GetSha256()); err != nil {
		return nil, nil, err
	}
	return s.changeInSession(st, kind, h.GetClaim())
}

// changeInSession is change for an agent whose lease was already checked.
func (s *Server) changeInSession(st *state, kind string, c *agentpb.Claim) (*state, func(), error) {
	if err := validate(kind, c); err != nil {
		return nil, nil, err
	}
	return st, s.locks.lock(ledger.Key(kind, c.GetId())), nil
}

// validate refuses claims that the ledger couldn't keep apart.
func validate(kind string, c *agentpb.Claim) error {
	switch {
	case c == nil || c.GetId() == "" || c.GetUrn() == "" || c.GetStack() == "":
		return fault.New(agentpb.Reason_INVALID, "a claim needs a kind, an id, a URN and a stack")
	case c.GetKind() != kind:
		return fault.New(agentpb.Reason_INVALID, "the claim is of a %s, and a %s was to be changed", c.GetKind(), kind)
	}
	if kind == kindUser || kind == kindUnit || kind == kindImage || kind == kindQuadlet || kind == kindPackage || kind == kindCompose {
		return nil // their names have rules of their own
	}
	return validPath(c.GetId())
}

func validPath(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || strings.ContainsRune(path, 0) {
		return fault.New(agentpb.Reason_INVALID, "%q is not a clean absolute path", path).With("path", path)
	}
	return nil
}

// owned looks up an entry for an observation. A ledger that can't be read is an error there
// too: silence would look like a foreign thing.
func (s *Server) owned(kind, id string) (*agentpb.Owned, error) {
	e, err := s.use().ledger.Find(kind, id)
	return e.Proto(), err
}
