package systemd

import (
	"context"
	"errors"
	"testing"
)

// While one reload runs, all who come share the next: they can't share the one that runs, since
// it may have read the files before they were written.
func TestReloadsAreShared(t *testing.T) {
	var c coalescer
	running, release := make(chan struct{}), make(chan struct{})
	first := c.join(func() error { close(running); <-release; return nil })
	<-running

	failure := errors.New("failed")
	runs := 0
	late := map[*batch]bool{}
	for range 20 {
		late[c.join(func() error { runs++; return failure })] = true
	}
	if len(late) != 1 || late[first] {
		t.Fatalf("20 callers wait for %d runs", len(late))
	}
	close(release)
	<-first.done
	for b := range late {
		<-b.done
		if first.err != nil || !errors.Is(b.err, failure) || runs != 1 {
			t.Errorf("errors %v and %v after %d runs", first.err, b.err, runs)
		}
	}
}

func TestWaitingForAReloadCanBeGivenUp(t *testing.T) {
	var c coalescer
	release := make(chan struct{})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.do(ctx, func() error { <-release; return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
