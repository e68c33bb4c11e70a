package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// echoing is a server that answers once it has read everything.
func echoing(t *testing.T) func(context.Context) (net.Conn, error) {
	t.Helper()
	l := listenLoopback(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				got, _ := io.ReadAll(c)
				fmt.Fprintf(c, "got %s", got)
			}()
		}
	}()
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	}
}

func TestForwardServesManyAtOnce(t *testing.T) {
	near := listenLoopback(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- forward(ctx, near, echoing(t), func(err error) { t.Error(err) }) }()
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			c, err := net.Dial("tcp", near.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			fmt.Fprintf(c, "call %d", i)
			c.(*net.TCPConn).CloseWrite()
			if got, err := io.ReadAll(c); err != nil || string(got) != fmt.Sprintf("got call %d", i) {
				t.Errorf("call %d: %q (%v)", i, got, err)
			}
		})
	}
	all.Wait()

	idle, err := net.Dial("tcp", near.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	cancel()
	near.Close()
	if err := <-ended; err != nil {
		t.Errorf("an interrupted tunnel is an error: %v", err)
	}
	if err := idle.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(idle); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("an open connection outlives the tunnel")
	}
}

func TestForwardOutlivesAServerThatIsDown(t *testing.T) {
	near := listenLoopback(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	said := make(chan error, 1)
	down := errors.New("no server answers")
	up := echoing(t)
	first := true
	go forward(ctx, near, func(ctx context.Context) (net.Conn, error) {
		if first {
			first = false
			return nil, down
		}
		return up(ctx)
	}, func(err error) { said <- err })

	c, err := net.Dial("tcp", near.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(c); len(got) > 0 {
		t.Errorf("got %q from a server that is down", got)
	}
	if err := <-said; !errors.Is(err, down) {
		t.Errorf("said %v", err)
	}
	c, err = net.Dial("tcp", near.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "got " {
		t.Errorf("the next connection: %q (%v)", got, err)
	}
}
