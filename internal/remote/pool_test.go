package remote_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/remote/agentbin"
)

// counting counts the agents that are started.
func counting(n *atomic.Int64) remote.Options {
	o := options()
	o.AgentBinary = func(ctx context.Context, arch string) (agentbin.Binary, error) {
		n.Add(1)
		return agentbin.For(ctx, arch)
	}
	return o
}

func TestPoolMakesOneConnectionForATarget(t *testing.T) {
	var started atomic.Int64
	pool := remote.NewPool(counting(&started))
	defer pool.Close()
	target := remote.Target{HostID: "local", Local: true, StateDir: t.TempDir()}
	conns := make([]*remote.Conn, 50)
	var all sync.WaitGroup
	for i := range conns {
		all.Go(func() {
			c, err := pool.Conn(t.Context(), target)
			if err != nil {
				t.Error(err)
			}
			conns[i] = c
		})
	}
	all.Wait()
	for _, c := range conns {
		if c != conns[0] {
			t.Fatal("two connections to one target")
		}
	}
	if got := started.Load(); got != 1 {
		t.Errorf("%d agents were started, want one", got)
	}
	other := target
	other.StateDir = t.TempDir()
	if c, err := pool.Conn(t.Context(), other); err != nil || c == conns[0] {
		t.Errorf("another target got the same connection (%v)", err)
	}
}

func TestPoolRemembersAFailureForAMoment(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var attempts atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			attempts.Add(1)
			c.Close()
		}
	}()
	o := options()
	o.ConnectTimeout = time.Nanosecond
	pool := remote.NewPool(o)
	defer pool.Close()
	target := remote.Target{Address: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Identity: newKey(t), StateDir: t.TempDir()}
	for range 200 { // as many as a stack has resources
		if _, err := pool.Conn(t.Context(), target); !errors.Is(err, remote.ErrUnreachable) {
			t.Fatalf("got %v, want unreachable", err)
		}
	}
	if got := attempts.Load(); got > 3 {
		t.Errorf("a host that is off was knocked at %d times", got)
	}
}

func TestPoolWaitersAreIndependent(t *testing.T) {
	release := make(chan struct{})
	o := options()
	o.AgentBinary = func(ctx context.Context, arch string) (agentbin.Binary, error) {
		<-release
		return agentbin.For(ctx, arch)
	}
	pool := remote.NewPool(o)
	defer pool.Close()
	target := remote.Target{HostID: "local", Local: true, StateDir: t.TempDir()}
	impatient, giveUp := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := pool.Conn(impatient, target)
		first <- err
	}()
	second := make(chan error, 1)
	go func() {
		_, err := pool.Conn(t.Context(), target)
		second <- err
	}()
	giveUp()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that gave up got %v", err)
	}
	close(release)
	if err := <-second; err != nil {
		t.Errorf("the one that waited got %v", err)
	}
}

func TestClosedPoolRefuses(t *testing.T) {
	pool := remote.NewPool(options())
	if err := pool.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Conn(t.Context(), remote.Target{Local: true, StateDir: t.TempDir()}); err == nil {
		t.Error("a closed pool made a connection")
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	s := startSSHD(t)
	warm := func() {
		c, err := remote.Dial(t.Context(), s.target(t), options())
		if err != nil {
			t.Fatal(err)
		}
		_, end, err := c.Bulk(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		end.Close()
		c.Close()
	}
	warm()
	before := ours()
	for range 3 {
		warm()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if c, err := remote.Dial(ctx, s.target(t), options()); err == nil {
			c.Close()
			t.Error("a cancelled Dial succeeded")
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		now := ours()
		if len(now) <= len(before) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines more than before:\n%s", len(now)-len(before), strings.Join(now, "\n\n"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// ours lists the goroutines that this package and those below it have started.
func ours() []string {
	buf := make([]byte, 4<<20)
	var found []string
	for _, one := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(one, "internal/remote.") || strings.Contains(one, "x/crypto/ssh") || strings.Contains(one, "google.golang.org/grpc") {
			found = append(found, one)
		}
	}
	return found
}
