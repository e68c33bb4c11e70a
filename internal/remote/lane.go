package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/transfer"
)

var _ transfer.Lanes = (*Conn)(nil)

// Lane starts an agent on a channel of its own and hands out its pipe, which has not said yet
// whether it speaks gRPC or frames.
func (c *Conn) Lane(ctx context.Context) (io.ReadWriteCloser, error) {
	word, _ := c.options.state(c.target)
	p, err := starter{host: c.host, options: c.options, state: word}.start(ctx, c.link)
	if err != nil {
		return nil, err
	}
	return &laneConn{pipe: p, conn: c, link: c.link, ctx: ctx}, nil
}

// ExtraLane is one more lane of the same push, on a connection of its own where there can be one:
// each connection makes up for lost packets by itself. A login that asks the user something isn't
// repeated; the lane is then one more channel.
func (c *Conn) ExtraLane(ctx context.Context) (io.ReadWriteCloser, error) {
	further, err := c.further(ctx)
	if err != nil {
		return nil, err
	}
	if further == nil {
		return c.Lane(ctx)
	}
	p, err := starter{host: c.host, options: c.options, state: c.target.stateDir()}.start(ctx, further)
	if err != nil {
		further.close()
		return nil, err
	}
	return &laneConn{pipe: p, conn: c, link: further, own: true, ctx: ctx}, nil
}

// further makes one more connection to the host. It is nil where one must do.
func (c *Conn) further(ctx context.Context) (link, error) {
	if c.target.Local {
		return nil, nil
	}
	select { // one at a time: the first refusal is the last
	case c.furthering <- struct{}{}:
		defer func() { <-c.furthering }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if c.alone {
		return nil, nil
	}
	o := c.options
	o.ConnectTimeout = startTimeout / 4
	o.Log = func(string) {}
	o.Password = nil
	o.Passphrase = func(context.Context, string) (string, error) {
		return "", errors.New("it was asked for once")
	}
	l, err := connector{target: c.target, options: o}.connect(ctx)
	if err == nil {
		return l, nil
	}
	if ctx.Err() != nil {
		return nil, err
	}
	c.alone = true
	return nil, nil
}

// pings are how often the way to the agent and back is measured.
const pings = 3

// RTT is the shortest of some round trips to the agent, measured when it is first asked for. It
// is 0 for a connection that gives no answer.
func (c *Conn) RTT() time.Duration {
	c.measure.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		for range pings {
			begun := time.Now()
			if _, err := c.control.client.Ping(ctx, &agentpb.PingRequest{}); err != nil {
				return
			}
			if took := time.Since(begun); c.rtt == 0 || took < c.rtt {
				c.rtt = took
			}
		}
	})
	return c.rtt
}

// laneConn is a lane's pipe.
type laneConn struct {
	*pipe
	conn *Conn
	link link
	own  bool            // the link is this lane's alone
	ctx  context.Context // of the push
	once sync.Once
}

// Write sends a batch of frames in few system calls.
func (l *laneConn) Write(b []byte) (int, error) {
	defer l.link.cork()()
	return l.pipe.Write(b)
}

// Close ends the agent at once: what it has received it keeps, and it waits for nothing.
func (l *laneConn) Close() error {
	l.once.Do(func() {
		go func() {
			l.process.kill()
			if l.own {
				l.link.close()
			}
		}()
	})
	return nil
}

// Opening is the agent's state folder and who pushes.
func (l *laneConn) Opening() (stateDir, holder string) {
	_, stateDir = l.conn.options.state(l.conn.target)
	return stateDir, l.conn.options.Holder
}

// Translate puts an error of a push into this package's words. What went wrong on this side is
// in its own.
func (l *laneConn) Translate(err error) error {
	var said interface{ GRPCStatus() *status.Status }
	switch {
	case l.ctx.Err() != nil:
		return cancelled(l.ctx, l.conn.host, "the push of a model")
	case errors.As(err, &said):
		alive := func() error { return nil } // it has answered
		return translator{host: l.conn.host, death: alive}.translate(l.ctx, "push", err)
	case errors.Is(err, transfer.ErrCut), errors.Is(err, io.EOF):
		return lost(l.conn.host, "push", firstError(l.death(), err))
	default:
		return err
	}
}

// death says why the lane is gone, nil while it is there.
func (l *laneConn) death() error {
	select { // the end of the stream is often seen before that of the program
	case <-l.process.exited:
	case <-l.link.done():
	case <-time.After(lastWordsWait):
		return nil
	}
	if isDone(l.link) {
		return firstError(l.link.cause(), errors.New("the connection ended"))
	}
	if said := l.process.stderr.String(); said != "" {
		return fmt.Errorf("the agent ended: %s", lastLine(said))
	}
	return errors.New("the agent ended")
}

// lastWordsWait is how long is waited for the reason of an end.
const lastWordsWait = time.Second
