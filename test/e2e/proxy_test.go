package e2e

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// proxy is a TCP link to the VM that a test can slow down and cut.
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	conns map[net.Conn]bool
	rate  int   // bytes a second towards the VM, 0: unlimited
	left  int64 // bytes until the link is cut, -1: never
	sent  int64 // bytes that have passed towards the VM
	cut   bool
}

// startProxy listens on a free port and forwards to a port of this machine.
func startProxy(t *testing.T, port int) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), conns: map[net.Conn]bool{}, left: -1}
	go p.serve()
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// CutAfter lets n more bytes pass towards the VM, then breaks every connection and refuses new ones.
func (p *proxy) CutAfter(n int64) { p.mu.Lock(); p.left = n; p.mu.Unlock() }

// Throttle limits what goes towards the VM.
func (p *proxy) Throttle(bytesPerSecond int) { p.mu.Lock(); p.rate = bytesPerSecond; p.mu.Unlock() }

// Mend lets everything pass again.
func (p *proxy) Mend() { p.mu.Lock(); p.left, p.cut, p.rate = -1, false, 0; p.mu.Unlock() }

// Cut breaks every connection and refuses new ones.
func (p *proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		c.Close()
	}
}

// Sent is how many bytes have passed towards the VM, with all that SSH adds.
func (p *proxy) Sent() int64 { p.mu.Lock(); defer p.mu.Unlock(); return p.sent }

func (p *proxy) WasCut() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.cut }

func (p *proxy) Close() { p.listener.Close(); p.Cut() }

func (p *proxy) serve() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", p.target)
		p.mu.Lock()
		if err != nil || p.cut {
			p.mu.Unlock()
			c.Close()
			if up != nil {
				up.Close()
			}
			continue
		}
		p.conns[c], p.conns[up] = true, true
		p.mu.Unlock()
		go func() { _, _ = io.Copy(c, up); c.Close(); up.Close() }()
		go p.upload(up, c)
	}
}

func (p *proxy) upload(dst, src net.Conn) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			p.mu.Lock()
			rate, cut := p.rate, false
			p.sent += int64(n)
			if p.left >= 0 {
				p.left -= int64(n)
				cut = p.left < 0
			}
			p.mu.Unlock()
			if cut {
				p.Cut()
				return
			}
			if rate > 0 {
				time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *project) hostfile(stack string) string {
	p.T.Helper()
	b, err := os.ReadFile(filepath.Join(p.Dir, "hosts", stack+".hcl"))
	if err != nil {
		p.T.Fatal(err)
	}
	return string(b)
}
