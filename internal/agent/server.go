package agent

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llmhost/llmhost/internal/agent/account"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/archive"
	"github.com/llmhost/llmhost/internal/agent/confine"
	"github.com/llmhost/llmhost/internal/agent/container"
	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/docker"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/guard"
	"github.com/llmhost/llmhost/internal/agent/lease"
	"github.com/llmhost/llmhost/internal/agent/ledger"
	"github.com/llmhost/llmhost/internal/agent/local"
	"github.com/llmhost/llmhost/internal/agent/systemd"
)

// DefaultStateDir holds the ledger and the lease.
const DefaultStateDir = "/var/lib/llmhost"

// DefaultIdle is how long the agent waits for a sign of life from the other side.
const DefaultIdle = time.Minute

// Options are an agent's settings. The zero value is good for a host.
type Options struct {
	// Version is llmhost's, which Hello reports.
	Version string
	// Idle is how long nothing may be received before Serve ends; 0 is DefaultIdle.
	Idle time.Duration
	// StateDir is used when Hello names none; empty is DefaultStateDir.
	StateDir string
	// Log takes warnings; nil drops them.
	Log *slog.Logger
}

// Server is the agent's side of the protocol.
type Server struct {
	agentpb.UnimplementedAgentServer
	options  Options
	log      *slog.Logger
	accounts account.Database
	servers  local.Dialer
	limits   archive.Limits

	containers  container.System
	managerOf   func(uid int) userManager
	userJournal func(ctx context.Context, uid int, unit string) []string

	systemd   manager
	unitFiles systemd.Files
	journal   func(ctx context.Context, unit string) []string
	timer     guard.Timer
	confine   *confine.Host
	guardRoot string // where the unit for the next boot is written
	docker    docker.Client
	locks     locks

	mu    sync.Mutex
	state *state
	fixed bool // the state folder was used or named, and stays

	removed atomic.Bool // something was removed from the host
}

// state is what the agent keeps on the host.
type state struct {
	dir    string
	ledger *ledger.Ledger
	lease  *lease.Lease
}

// NewServer returns a server for a gRPC server to register. Serve does both.
func NewServer(o Options) *Server {
	if o.StateDir == "" {
		o.StateDir = DefaultStateDir
	}
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	manager := &systemd.Manager{}
	return &Server{
		options:  o,
		log:      o.Log,
		accounts: account.System,
		servers:  local.Dialer{SocketDir: local.DefaultSocketDir},
		limits:   archive.DefaultLimits,

		containers:  container.System{Accounts: account.System},
		managerOf:   func(uid int) userManager { return systemd.OfUser(uid) },
		userJournal: systemd.UserJournal,

		systemd:   &gpuKeeper{manager: manager, log: o.Log},
		unitFiles: systemd.Files{Root: "/"},
		journal:   systemd.Journal,
		timer:     manager,
		confine:   &confine.Host{Units: manager},
		guardRoot: "/",
		docker:    docker.Client{Socket: docker.DefaultSocket},

		state: newState(o.StateDir),
	}
}

// Close gives up the lease and the connection to systemd. After the removal of the last thing
// that llmhost made on the host it leaves nothing of llmhost there.
func (s *Server) Close() {
	if m, ok := s.systemd.(io.Closer); ok {
		m.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.lease.Release(func() {
		if s.removed.Load() {
			s.vanish()
		}
	})
}

// vanish removes what llmhost keeps for itself on the host, this program included, once nothing
// that it made is left there. It is called while nobody else can change the host.
func (s *Server) vanish() {
	if left, err := s.state.ledger.List(); err != nil || len(left) > 0 {
		return
	}
	for _, own := range stateFiles {
		dir := filepath.Join(s.state.dir, own.folder)
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // nothing was kept there
		}
		for _, e := range entries {
			if !own.names.MatchString(e.Name()) {
				continue
			}
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				s.log.Warn("what is no longer needed could not be removed", "error", err)
			}
		}
		_ = os.Remove(dir) // what somebody else has put there keeps it
	}
	_ = os.Remove(s.servers.SocketDir) // likewise
}

// stateFiles are what llmhost keeps in the state folder. The folder need not be its alone, so
// that only what is sure to be its own is removed.
var stateFiles = []struct {
	folder string
	names  *regexp.Regexp
}{
	{"owned", regexp.MustCompile(`^([A-Za-z]+-[0-9a-f]{32}\.json|\.llmhost-[0-9a-f-]+)$`)},
	{"digests", regexp.MustCompile(`^([0-9a-f]{32}\.json|\.llmhost-[0-9a-f-]+)$`)},
	{"metrics", regexp.MustCompile(`^(models\.prom|\.llmhost-[0-9a-f-]+)$`)},
	{"engines", regexp.MustCompile(`^([A-Za-z]+-[0-9a-f]{32}\.json|\.llmhost-[0-9a-f-]+)$`)},
	{"images", regexp.MustCompile(`^[A-Za-z]+-[0-9a-f]{32}\.part$`)},
	{guardFolder, regexp.MustCompile(`^([0-9a-f]{32}\.(json|outcome)|llmhost-agent|\.llmhost-[0-9a-f-]+)$`)},
	{"previous", regexp.MustCompile(`^([A-Za-z]+-[0-9a-f]{32}\.json|\.llmhost-[0-9a-f-]+)$`)},
	{"compose", regexp.MustCompile(`^([a-z0-9][a-z0-9_-]*\.json|\.llmhost-[0-9a-f-]+)$`)},
	{"agent", regexp.MustCompile(`^[0-9a-f]{64}$`)},
	{".", regexp.MustCompile(`^(verify-[0-9]+|lease|lease\.lock)$`)},
}

func newState(dir string) *state {
	return &state{dir: dir, ledger: ledger.Open(ledgerIn(dir)), lease: lease.At(dir)}
}

// ledgerIn is the ledger's folder in a state folder.
func ledgerIn(dir string) string { return filepath.Join(dir, "owned") }

func (st *state) digests() digest.Cache { return digest.Cache(filepath.Join(st.dir, "digests")) }

func (st *state) manifests() string { return filepath.Join(st.dir, "engines") }

// use returns the state, which can't be moved from then on.
func (s *Server) use() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fixed = true
	return s.state
}

// useDir sets the folder of the state, once.
func (s *Server) useDir(dir string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" {
		return fault.New(agentpb.Reason_INVALID, "the state folder must be a clean absolute path, not %q", dir)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.dir == dir {
		s.fixed = true
		return nil
	}
	if s.fixed {
		return fault.New(agentpb.Reason_INVALID, "this agent already keeps its state in %s", s.state.dir)
	}
	s.state, s.fixed = newState(dir), true
	return nil
}
