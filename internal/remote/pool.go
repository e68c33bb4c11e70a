package remote

import (
	"context"
	"errors"
	"sync"
	"time"
)

// retryAfter is how long a failed Dial answers for the ones that follow. Hundreds of
// resources on a host that is off must not each wait for it.
const retryAfter = 5 * time.Second

// Pool keeps one living connection for each target, however many ask for it at once.
type Pool struct {
	options Options
	now     func() time.Time

	mu      sync.Mutex
	entries map[string]*entry
	closed  bool
}

// entry is a connection, or the attempt to make one.
type entry struct {
	ready   chan struct{} // closed when conn or err is there
	conn    *Conn
	err     error
	at      time.Time // of err
	waiting int
	cancel  context.CancelFunc // of the attempt
}

// NewPool makes an empty pool. All its connections share the options, and so the session.
func NewPool(o Options) *Pool {
	return &Pool{options: o, now: time.Now, entries: map[string]*entry{}}
}

var shared = sync.OnceValue(func() *Pool { return NewPool(Options{}) })

// Shared is the pool of this process. Old and new provider instances live at the same time
// and must not each hold a connection.
func Shared() *Pool { return shared() }

// Conn returns the living connection to a target, made now if need be. A connection that has
// died is made anew, once; what was under way on it has failed with ErrUnreachable, because
// nobody knows what it did. The context limits this caller alone: the attempt goes on as
// long as anybody waits for it.
func (p *Pool) Conn(ctx context.Context, t Target) (*Conn, error) {
	key := t.key()
	for {
		e, err := p.join(key, t)
		if err != nil {
			return nil, err
		}
		select {
		case <-e.ready:
			p.leave(key, e)
			if errors.Is(e.err, context.Canceled) && ctx.Err() == nil {
				continue // cancelled because everybody else had left, just before we came
			}
			return e.conn, e.err
		case <-ctx.Done():
			p.leave(key, e)
			return nil, cancelled(ctx, firstOf(t.HostID, t.Address), "connect")
		}
	}
}

// join finds the entry of a target or begins a new one.
func (p *Pool) join(key string, t Target) (*entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, &Error{Op: "connect", Message: "the connections of this run have been closed"}
	}
	e := p.entries[key]
	if e != nil && isClosed(e.ready) {
		switch {
		case e.conn != nil && isClosed(e.conn.Done()):
			go e.conn.Close() // frees what the dead connection still holds
			e = nil
		case e.err != nil && p.now().Sub(e.at) > retryAfter:
			e = nil
		}
	}
	if e == nil {
		ctx, cancel := context.WithCancel(context.Background())
		e = &entry{ready: make(chan struct{}), cancel: cancel}
		p.entries[key] = e
		go p.dial(ctx, key, e, t)
	}
	e.waiting++
	return e, nil
}

func (p *Pool) dial(ctx context.Context, key string, e *entry, t Target) {
	conn, err := Dial(ctx, t, p.options)
	p.mu.Lock()
	defer p.mu.Unlock()
	e.cancel()
	if conn != nil && p.closed {
		go conn.Close()
		conn, err = nil, &Error{Op: "connect", Message: "the connections of this run have been closed"}
	}
	e.conn, e.err, e.at = conn, err, p.now()
	if errors.Is(err, context.Canceled) && p.entries[key] == e {
		delete(p.entries, key) // says nothing about the host
	}
	close(e.ready)
}

// leave ends an attempt that nobody waits for any more.
func (p *Pool) leave(key string, e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.waiting--
	if e.waiting == 0 && !isClosed(e.ready) {
		e.cancel()
		if p.entries[key] == e {
			delete(p.entries, key)
		}
	}
}

// RoundTrips is the number of calls made over the pool's living connections.
func (p *Pool) RoundTrips() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n uint64
	for _, e := range p.entries {
		if isClosed(e.ready) && e.conn != nil {
			n += e.conn.RoundTrips()
		}
	}
	return n
}

// Close ends all connections and refuses new ones.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	entries := p.entries
	p.entries = map[string]*entry{}
	p.mu.Unlock()
	var errs []error
	for _, e := range entries {
		e.cancel()
		<-e.ready
		if e.conn != nil {
			errs = append(errs, e.conn.Close())
		}
	}
	return errors.Join(errs...)
}
