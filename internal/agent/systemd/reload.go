package systemd

import (
	"context"
	"sync"
)

// coalescer runs one thing for all who ask for it while it hasn't started: a deployment puts
// many units at once, and a reload reads every unit of the host. Whoever asks after it has
// started waits for the next one, since its files may have been written too late for this one.
type coalescer struct {
	mu      sync.Mutex
	waiting *batch
	running sync.Mutex
}

type batch struct {
	done chan struct{}
	err  error
}

func (c *coalescer) do(ctx context.Context, run func() error) error {
	b := c.join(run)
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join returns the next run, which is the caller's own if nobody else waits for one.
func (c *coalescer) join(run func() error) *batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		c.waiting = &batch{done: make(chan struct{})}
		go c.start(c.waiting, run)
	}
	return c.waiting
}

func (c *coalescer) start(b *batch, run func() error) {
	c.running.Lock()
	defer c.running.Unlock()
	c.mu.Lock()
	c.waiting = nil
	c.mu.Unlock()
	b.err = run()
	close(b.done)
}
