package remote

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Conn is a connection to a host with a running agent. It is safe for use by many at once.
type Conn struct {
	target  Target
	options Options
	host    string
	link    link
	control *session
	calls   atomic.Uint64

	leasing chan struct{} // holds one token; whoever has it may take the lease
	leased  bool

	measure sync.Once
	rtt     time.Duration

	furthering chan struct{} // holds one token; whoever has it may make a further connection
	alone      bool          // there can be none
}

// Dial connects to a host: it opens the way, puts the agent there if it is not there yet,
// starts it and greets it. The context limits Dial alone; the connection lives until Close.
//
// Errors are *Error. ErrUnreachable, ErrHostKey, ErrAuth, ErrSudo, ErrArchitecture and the
// other sentinels say what kind they are.
func Dial(ctx context.Context, t Target, o Options) (*Conn, error) {
	if err := t.validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	c := &Conn{target: t, options: o, host: firstOf(t.HostID, t.Address, "this machine"), leasing: make(chan struct{}, 1), furthering: make(chan struct{}, 1)}
	if t.Local {
		c.link = newLocalLink()
	} else {
		ssh, err := connector{target: t, options: o}.connect(ctx)
		if err != nil {
			return nil, err
		}
		c.link = ssh
	}
	var err error
	if c.control, err = c.open(ctx); err != nil {
		c.link.close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) open(ctx context.Context) (*session, error) {
	return openSession(ctx, c.host, c.link, c.target, c.options, func() { c.calls.Add(1) })
}

// Agent is the client of the control channel. Its errors are *Error.
func (c *Conn) Agent() agentpb.AgentClient { return c.control.client }

// Hello is what the agent said about itself and the host when the connection was made.
func (c *Conn) Hello() *agentpb.HelloResponse { return c.control.hello }

// Session is the identity under which this connection takes the lease.
func (c *Conn) Session() string { return c.options.Session }

// RoundTrips is the number of calls made so far, without the heartbeat.
func (c *Conn) RoundTrips() uint64 { return c.calls.Load() }

// Done is closed when the connection is dead. Err then says why.
func (c *Conn) Done() <-chan struct{} { return c.control.dead }

// Err is nil while the connection lives.
func (c *Conn) Err() error {
	if why := c.control.cause(); why != nil {
		return lost(c.host, "connect", why)
	}
	return nil
}

// Lease makes this connection one that may change the host. It is taken once and held until
// the connection ends. Another holder is named in the error, whose Reason is LEASE_HELD.
func (c *Conn) Lease(ctx context.Context) error {
	select {
	case c.leasing <- struct{}{}:
		defer func() { <-c.leasing }()
	case <-ctx.Done():
		return cancelled(ctx, c.host, "AcquireLease")
	}
	if c.leased {
		return nil
	}
	_, err := c.control.client.AcquireLease(ctx, &agentpb.AcquireLeaseRequest{
		SessionId:   c.options.Session,
		Holder:      c.options.Holder,
		WaitSeconds: uint32(c.options.LeaseWait.Seconds()),
	})
	if err == nil {
		c.leased = true
	}
	return err
}

// Bulk starts a second agent on a channel of its own, so that a model on its way does not
// hold up the control channel. Closing it ends that agent.
func (c *Conn) Bulk(ctx context.Context) (agentpb.AgentClient, io.Closer, error) {
	s, err := c.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	return s.client, closer(s.close), nil
}

type closer func() error

func (f closer) Close() error { return f() }

// Close ends the agent and the connection.
func (c *Conn) Close() error {
	err := c.control.close()
	if linkErr := c.link.close(); linkErr != nil {
		return linkErr
	}
	return err
}
