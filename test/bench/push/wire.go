package main

import (
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

// wire is a listener that passes connections on to a server, counts what goes by, and cuts all
// of them after so many bytes. The count is of what SSH sends: some per mille more than it
// carries.
type wire struct {
	place
	up, down atomic.Int64 // bytes to the server and from it

	to       string
	limit    int64 // bytes to the server, after which everything is cut; 0: never
	listener net.Listener
	mu       sync.Mutex
	open     []net.Conn
	closed   bool
}

func newWire(to place, hostKey, knownHosts string, limit int64) (*wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{place: to, to: net.JoinHostPort(to.address, strconv.Itoa(to.port)), limit: limit, listener: l}
	w.address, w.port, w.known = "127.0.0.1", l.Addr().(*net.TCPAddr).Port, knownHosts
	if err := atomicfile.Write(knownHosts, []byte("[127.0.0.1]:"+strconv.Itoa(w.port)+" "+hostKey+"\n")); err != nil {
		l.Close()
		return nil, err
	}
	go w.accept()
	return w, nil
}

func (w *wire) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.to)
		if err != nil {
			near.Close()
			continue
		}
		w.mu.Lock()
		w.open = append(w.open, near, far)
		closed := w.closed
		w.mu.Unlock()
		if closed {
			w.close()
			return
		}
		go w.pass(far, near, &w.up, w.limit)
		go w.pass(near, far, &w.down, 0)
	}
}

func (w *wire) pass(to, from net.Conn, count *atomic.Int64, limit int64) {
	defer to.Close()
	buf := make([]byte, 256<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if limit > 0 && count.Load()+int64(n) > limit {
				w.close()
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
			count.Add(int64(n))
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			return
		}
	}
}

// close cuts everything.
func (w *wire) close() {
	w.listener.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, c := range w.open {
		c.Close()
	}
}
