package remote_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/remote"
)

func localConn(t *testing.T) *remote.Conn {
	t.Helper()
	return mustDial(t, remote.Target{HostID: "local", Local: true, StateDir: t.TempDir()}, options())
}

// serve answers each connection with a function and returns the address for DialServer.
func serve(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answer(c)
			}()
		}
	}()
	return "tcp:" + l.Addr().String()
}

func dialServer(t *testing.T, c *remote.Conn, address string) net.Conn {
	t.Helper()
	s, err := c.DialServer(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestHTTPOverDialServer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d bytes for %s", len(body), r.URL.Path)
	}))
	defer server.Close()
	conn := localConn(t)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return conn.DialServer(ctx, "tcp:"+server.Listener.Addr().String())
	}}}
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			size := i * 100_000
			response, err := client.Post(fmt.Sprintf("http://model/%d", i), "text/plain", strings.NewReader(strings.Repeat("x", size)))
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			got, err := io.ReadAll(response.Body)
			if want := fmt.Sprintf("%d bytes for /%d", size, i); err != nil || string(got) != want {
				t.Errorf("got %q (%v), want %q", got, err, want)
			}
		})
	}
	all.Wait()
}

func TestAServerThatIsDownIsAnErrorOfTheDial(t *testing.T) {
	conn := localConn(t)
	_, err := conn.DialServer(t.Context(), fmt.Sprintf("tcp:127.0.0.1:%d", freePort(t)))
	var e *remote.Error
	if !errors.As(err, &e) || errors.Is(err, remote.ErrUnreachable) || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("got %v, want an error about the server alone", err)
	}
	if _, err := conn.DialServer(t.Context(), "tcp:192.0.2.1:80"); err == nil {
		t.Error("another machine was dialled")
	}
}

func TestHalfClose(t *testing.T) {
	address := serve(t, func(c net.Conn) {
		got, _ := io.ReadAll(c) // ends with the client's half close
		fmt.Fprintf(c, "you said %s", got)
	})
	s := dialServer(t, localConn(t), address)
	if _, err := io.WriteString(s, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := s.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("more")); err == nil {
		t.Error("a write after the half close was accepted")
	}
	if got, err := io.ReadAll(s); err != nil || string(got) != "you said hello" {
		t.Errorf("got %q (%v)", got, err)
	}
}

func TestReadDeadline(t *testing.T) {
	address := serve(t, func(c net.Conn) {
		line, _ := bufio.NewReader(c).ReadString('\n') // silent until asked
		_, _ = io.WriteString(c, line)
	})
	s := dialServer(t, localConn(t), address)
	for _, when := range []time.Time{time.Now().Add(-time.Hour), time.Now().Add(10 * time.Millisecond)} {
		if err := s.SetReadDeadline(when); err != nil {
			t.Fatal(err)
		}
		_, err := s.Read(make([]byte, 1))
		var timeout net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("got %v, want a time-out", err)
		}
	}
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(s, "again\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(s).ReadString('\n'); err != nil || got != "again\n" {
		t.Errorf("after the deadline: %q (%v)", got, err)
	}
}

func TestWriteDeadline(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	address := serve(t, func(net.Conn) { <-hold }) // never reads
	s := dialServer(t, localConn(t), address)
	if err := s.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 1<<20)
	for range 1000 { // more than all the buffers on the way hold
		if _, err := s.Write(piece); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v, want a time-out", err)
			}
			return
		}
	}
	t.Error("a server that does not read took a gigabyte")
}

func TestCloseUnblocksRead(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	address := serve(t, func(net.Conn) { <-hold })
	s := dialServer(t, localConn(t), address)
	read := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 1))
		read <- err
	}()
	s.Close()
	select {
	case err := <-read:
		if err == nil {
			t.Error("a read from a closed connection succeeded")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a read hangs after Close")
	}
}

func TestTheServersEndIsSeen(t *testing.T) {
	s := dialServer(t, localConn(t), serve(t, func(c net.Conn) { _, _ = io.WriteString(c, "bye") }))
	if got, err := io.ReadAll(s); err != nil || string(got) != "bye" {
		t.Errorf("got %q (%v)", got, err)
	}
}
