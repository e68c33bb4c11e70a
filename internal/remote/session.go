package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/version"
)

const (
	// The agent ends itself after a minute of silence; see agent.proto.
	heartbeatEvery  = 15 * time.Second
	heartbeatMisses = 3

	// maxMessage is the largest message that the agent may send: a file's content and a
	// little more.
	maxMessage = 64 << 20
)

// session is one agent that was started, and the gRPC connection to it.
type session struct {
	host   string
	link   link
	pipe   *pipe
	conn   *grpc.ClientConn
	client agentpb.AgentClient
	hello  *agentpb.HelloResponse

	dead chan struct{} // closed when the agent is gone
	once sync.Once
	mu   sync.Mutex
	why  error
}

// openSession starts an agent on the link and greets it.
func openSession(ctx context.Context, host string, l link, t Target, o Options, count func()) (*session, error) {
	word, stateDir := o.state(t)
	pipe, err := starter{host: host, options: o, state: word}.start(ctx, l)
	if err != nil {
		return nil, err
	}
	s := &session{host: host, link: l, pipe: pipe, dead: make(chan struct{})}
	tr := translator{host: host, death: s.cause, count: count}

	plain, err := dialPipe(pipe, tr)
	if err != nil {
		pipe.Close()
		return nil, newError(ErrStart, host, "start the agent", err.Error(), "", err)
	}
	s.conn = plain
	s.client = agentpb.NewAgentClient(plain)
	go s.watch()

	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s.hello, err = s.client.Hello(ctx, &agentpb.HelloRequest{
		Protocol:      agentpb.Protocol,
		ClientVersion: version.Version,
		StateDir:      stateDir,
	})
	if err != nil {
		s.close()
		return nil, err
	}
	if got := s.hello.GetProtocol(); got != agentpb.Protocol {
		s.close()
		return nil, newError(ErrProtocol, host, "Hello", fmt.Sprintf("the agent speaks protocol %d and this llmhost speaks %d", got, agentpb.Protocol), "use one version of llmhost", nil)
	}
	go s.heartbeat(heartbeatEvery)
	return s, nil
}

// dialPipe makes a gRPC connection of a pipe. A pipe can't be opened again, so the second
// attempt to dial is refused at once and calls fail as unreachable.
func dialPipe(p *pipe, tr translator) (*grpc.ClientConn, error) {
	var used atomic.Bool
	return grpc.NewClient("passthrough:///agent",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // SSH has secured it
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if used.Swap(true) {
				return nil, errors.New("the agent has ended")
			}
			return p, nil
		}),
		grpc.WithIdleTimeout(0),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithChainUnaryInterceptor(tr.unary),
		grpc.WithChainStreamInterceptor(tr.stream),
	)
}

// watch notices that the agent or the link is gone.
func (s *session) watch() {
	select {
	case <-s.pipe.process.exited:
		why := errors.New("the agent ended")
		if said := s.pipe.process.stderr.String(); said != "" {
			why = fmt.Errorf("the agent ended: %s", lastLine(said))
		}
		if isDone(s.link) {
			why = firstError(s.link.cause(), why)
		}
		s.fail(why)
	case <-s.link.done():
		s.fail(firstError(s.link.cause(), errors.New("the connection ended")))
	}
}

// heartbeat keeps the agent alive and finds out when it hangs.
func (s *session) heartbeat(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for misses := 0; ; {
		select {
		case <-s.dead:
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), every)
		_, err := s.client.Ping(ctx, &agentpb.PingRequest{})
		cancel()
		if err == nil {
			misses = 0
			continue
		}
		if misses++; misses >= heartbeatMisses {
			s.fail(fmt.Errorf("the agent gave no sign of life for %s", time.Duration(misses)*every))
			s.pipe.process.kill()
			return
		}
	}
}

func (s *session) fail(why error) {
	s.mu.Lock()
	if s.why == nil {
		s.why = why
	}
	s.mu.Unlock()
	s.once.Do(func() { close(s.dead) })
}

func (s *session) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// close ends the agent and waits until it has ended.
func (s *session) close() error {
	s.fail(errors.New("closed"))
	err := s.conn.Close()
	s.pipe.process.end()
	return err
}
