package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/melbahja/goph"
	"golang.org/x/crypto/ssh"
)

// maxJumps ends a ProxyJump that leads back to itself.
const maxJumps = 8

// connector opens SSH connections with one set of options.
type connector struct {
	target  Target
	options Options
}

// connect opens the connection to the target, through its jump hosts. It tries again while
// the network is at fault, and never when the host or the login is.
func (c connector) connect(ctx context.Context) (*sshLink, error) {
	link, err := c.open(ctx)
	var ours *Error
	if c.target.HostID != "" && errors.As(err, &ours) {
		ours.Host = c.target.HostID // the message says the address
	}
	return link, err
}

func (c connector) open(ctx context.Context) (*sshLink, error) {
	last, err := resolve(ctx, c.target, c.options.SSHConfig)
	if err != nil {
		return nil, err
	}
	way, err := c.way(ctx, last)
	if err != nil {
		return nil, err
	}
	var link *sshLink
	err = retry(ctx, c.options.ConnectTimeout, c.options.Log, func() (err error) {
		link, err = c.through(ctx, way)
		return err
	})
	return link, err
}

// way is the list of hops to the last one.
func (c connector) way(ctx context.Context, last hop) ([]hop, error) {
	way := []hop{last}
	for way[0].jump != "" {
		specs := strings.Split(way[0].jump, ",")
		var jumps []hop
		for _, spec := range specs {
			t, err := parseJump(spec)
			if err != nil {
				return nil, err
			}
			t.KnownHosts = c.target.KnownHosts
			t.Identity = c.target.Identity
			h, err := resolve(ctx, t, c.options.SSHConfig)
			if err != nil {
				return nil, err
			}
			jumps = append(jumps, h)
		}
		// Only the first jump may have a jump of its own: the others are reached through it.
		for i := range jumps[1:] {
			jumps[i+1].jump = ""
		}
		way[0].jump = ""
		way = append(jumps, way...)
		if len(way) > maxJumps {
			return nil, newError(ErrTarget, c.target.Address, "connect", fmt.Sprintf("more than %d jump hosts", maxJumps), "is there a loop in ProxyJump?", nil)
		}
	}
	return way, nil
}

// through makes each hop's connection inside the one before.
func (c connector) through(ctx context.Context, way []hop) (*sshLink, error) {
	var opened []*goph.Client
	var last *corkedConn
	closeAll := func() {
		for i := len(opened) - 1; i >= 0; i-- {
			opened[i].Close()
		}
	}
	for i, h := range way {
		dialCtx, cancel := context.WithTimeout(ctx, c.options.HandshakeTimeout)
		var conn net.Conn
		var err error
		if i == 0 {
			conn, err = (&net.Dialer{}).DialContext(dialCtx, "tcp", h.address())
		} else {
			conn, err = opened[i-1].DialContext(dialCtx, "tcp", h.address())
		}
		cancel()
		if err != nil {
			closeAll()
			return nil, unreachable(ctx, h, err)
		}
		last = newCorkedConn(conn)
		client, err := c.handshake(ctx, h, last)
		if err != nil {
			closeAll()
			return nil, err
		}
		opened = append(opened, client)
	}
	return newSSHLink(opened, last), nil
}

// handshake makes an SSH connection of a transport. It owns the transport.
func (c connector) handshake(ctx context.Context, h hop, transport net.Conn) (*goph.Client, error) {
	keys, err := newHostKeys(h)
	if err != nil {
		transport.Close()
		return nil, err
	}
	limit := newClock(c.options.HandshakeTimeout, func() { transport.Close() })
	defer limit.stop()
	stop := context.AfterFunc(ctx, func() { transport.Close() })
	defer stop()

	login, err := newLogin(ctx, h, prompts{
		passphrase: limit.paused(c.options.Passphrase),
		password:   limit.paused(c.options.Password),
	})
	if err != nil {
		transport.Close()
		return nil, err
	}
	defer login.close()

	var keyError error // the library wraps the callback's error in text only
	secure := ssh.SupportedAlgorithms()
	config := &ssh.ClientConfig{
		Config: ssh.Config{Ciphers: secure.Ciphers, KeyExchanges: secure.KeyExchanges, MACs: secure.MACs},
		User:   h.user,
		Auth:   login.methods(ctx),
		HostKeyCallback: func(name string, remote net.Addr, key ssh.PublicKey) error {
			keyError = keys.check(name, remote, key)
			return keyError
		},
		HostKeyAlgorithms: keys.algorithms(),
		ClientVersion:     "SSH-2.0-llmhost",
	}
	conn, channels, requests, err := ssh.NewClientConn(transport, h.address(), config)
	if err != nil {
		transport.Close()
		return nil, c.handshakeError(ctx, h, login, keys, keyError, limit.ran(), err)
	}
	return &goph.Client{
		Client: ssh.NewClient(conn, channels, requests),
		Config: &goph.Config{User: h.user, Addr: h.host, Port: uint(h.port), Auth: config.Auth, Callback: config.HostKeyCallback},
	}, nil
}

// handshakeError says which of a handshake's ways to fail it was.
func (c connector) handshakeError(ctx context.Context, h hop, l *login, keys *hostKeys, keyError error, late bool, err error) error {
	var ours *Error
	var negotiation *ssh.AlgorithmNegotiationError
	switch {
	case ctx.Err() != nil:
		return cancelled(ctx, h.alias, "connect")
	case keyError != nil:
		return keyError
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &negotiation) && strings.Contains(err.Error(), "host key"):
		var known []string
		for _, k := range keys.known() {
			known = append(known, fmt.Sprintf("%s (%s, %s:%d)", ssh.FingerprintSHA256(k.Key), k.Key.Type(), k.Filename, k.Line))
		}
		if keys.pinned != nil {
			known = []string{ssh.FingerprintSHA256(keys.pinned) + " (" + keys.pinned.Type() + ", host_key of the host file)"}
		}
		return newError(ErrHostKey, h.alias, "connect",
			fmt.Sprintf("%s has no host key of the confirmed type: expected is %s, it offers only %s",
				h.address(), strings.Join(known, " or "), strings.Join(negotiation.SupportedAlgorithms, ", ")),
			"either the machine was reinstalled or somebody is between you and it: find out which before you replace the expected key", err)
	case errors.As(err, &negotiation):
		return newError(ErrTarget, h.alias, "connect", "the SSH server supports no algorithm that is considered safe: "+err.Error(), "update its SSH server", err)
	case strings.Contains(err.Error(), "unable to authenticate"):
		tried := "nothing was there to offer"
		if len(l.tried) > 0 {
			tried = "offered were " + strings.Join(l.tried, ", ")
		}
		return newError(ErrAuth, h.alias, "connect", fmt.Sprintf("%s refuses the login of %q; %s", h.address(), h.user, tried),
			"set `user` and `identity` in the host file, or put your public key into the user's authorized_keys there", err)
	case late:
		return newError(ErrUnreachable, h.alias, "connect",
			fmt.Sprintf("%s accepts the connection but finishes no SSH handshake within %s", h.address(), c.options.HandshakeTimeout),
			"is that port an SSH server, and is the machine not overloaded?", err)
	default:
		return unreachable(ctx, h, err)
	}
}

// unreachable is a failure of the network.
func unreachable(ctx context.Context, h hop, err error) error {
	if ctx.Err() != nil {
		return cancelled(ctx, h.alias, "connect")
	}
	var dns *net.DNSError
	var refused *ssh.OpenChannelError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return newError(ErrUnreachable, h.alias, "connect", fmt.Sprintf("no address is known for the name %q", h.host), "check `address` in the host file", err)
	case errors.As(err, &refused):
		return newError(ErrUnreachable, h.alias, "connect", fmt.Sprintf("the jump host can't reach %s: %s", h.address(), refused.Message), "", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return newError(ErrUnreachable, h.alias, "connect", fmt.Sprintf("%s refuses the connection", h.address()), "is the SSH server running, and is that its port?", err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed):
		return newError(ErrUnreachable, h.alias, "connect", fmt.Sprintf("%s closed the connection during the SSH handshake", h.address()), "", err)
	case errors.Is(err, context.DeadlineExceeded):
		return newError(ErrUnreachable, h.alias, "connect", fmt.Sprintf("%s does not answer", h.address()), "is the machine on, and is there a route to it?", err)
	default:
		return newError(ErrUnreachable, h.alias, "connect", fmt.Sprintf("%s can't be reached: %v", h.address(), err), "", err)
	}
}

// cancelled is an operation that its caller gave up, or that ran out of its caller's time.
func cancelled(ctx context.Context, host, op string) error {
	cause := context.Cause(ctx)
	message := op + " was cancelled"
	if errors.Is(cause, context.DeadlineExceeded) {
		message = op + " took longer than allowed"
	}
	return &Error{Host: host, Op: op, Message: message, Err: cause}
}

// clock calls out when its time is up, and stands still while a person is asked.
type clock struct {
	mu    sync.Mutex
	timer *time.Timer
	limit time.Duration
	rang  bool
}

func newClock(limit time.Duration, ring func()) *clock {
	c := &clock{limit: limit}
	c.timer = time.AfterFunc(limit, func() {
		c.mu.Lock()
		c.rang = true
		c.mu.Unlock()
		ring()
	})
	return c
}

func (c *clock) stop() { c.timer.Stop() }

func (c *clock) ran() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rang
}

// paused gives the clock its whole time again after each question.
func (c *clock) paused(ask func(context.Context, string) (string, error)) func(context.Context, string) (string, error) {
	if ask == nil {
		return nil
	}
	return func(ctx context.Context, prompt string) (string, error) {
		c.timer.Stop()
		defer c.timer.Reset(c.limit)
		return ask(ctx, prompt)
	}
}

// restart gives the clock its whole time.
func (c *clock) restart() { c.timer.Reset(c.limit) }
