package remote

import (
	"net"
	"sync"
	"time"
)

const (
	// corkSize is how much a lane may collect before it is written, in bytes. x/crypto/ssh makes
	// two writes of each packet of 32 KiB; a quarter of the system calls is left with this, and
	// the kernel sends larger segments.
	corkSize = 256 << 10
	// corkTime is how long anything may wait in it: others, such as the heartbeat, share the
	// connection with a lane that waits for its window.
	corkTime = 2 * time.Millisecond
)

// corkedConn is a connection that collects small writes while somebody says that more follow.
type corkedConn struct {
	net.Conn

	mu    sync.Mutex
	corks int
	buf   []byte
	timer *time.Timer
	err   error // of a write that the timer has made
}

func newCorkedConn(c net.Conn) *corkedConn {
	k := &corkedConn{Conn: c}
	k.timer = time.AfterFunc(time.Hour, k.flushLate)
	k.timer.Stop()
	return k
}

// cork collects what is written until the call of the returned function.
func (k *corkedConn) cork() (uncork func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.corks++
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.corks--; k.corks == 0 {
			k.flush()
		}
	}
}

func (k *corkedConn) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return 0, k.err
	}
	if k.corks == 0 && len(k.buf) == 0 {
		return k.Conn.Write(b)
	}
	if k.buf == nil {
		k.buf = make([]byte, 0, corkSize)
	}
	written := len(b)
	for len(k.buf)+len(b) >= corkSize {
		n := corkSize - len(k.buf)
		k.buf = append(k.buf, b[:n]...)
		b = b[n:]
		if k.flush(); k.err != nil {
			return 0, k.err
		}
	}
	if len(k.buf) == 0 && len(b) > 0 {
		k.timer.Reset(corkTime)
	}
	k.buf = append(k.buf, b...)
	if k.corks == 0 {
		k.flush()
	}
	return written, k.err
}

func (k *corkedConn) flush() {
	if len(k.buf) == 0 || k.err != nil {
		return
	}
	k.timer.Stop()
	_, k.err = k.Conn.Write(k.buf)
	k.buf = k.buf[:0]
}

func (k *corkedConn) flushLate() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.flush()
}
