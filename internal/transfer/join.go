package transfer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// maxJoined bounds the further lanes of a push.
const maxJoined = 16

// door is where the agents of further lanes hand in what they receive, so that one process writes,
// hashes and keeps the journal. It is a socket without a place in the file system, whose name
// nobody can guess, and both ends make sure that the other one is the same user.
type door struct {
	name     string
	listener *net.UnixListener

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
}

var doorName = regexp.MustCompile(`^llmhost-lane-[A-Z2-7]{26}$`)

func openDoor(r *receiver) (*door, error) {
	d := &door{name: "llmhost-lane-" + rand.Text()}
	var err error
	if d.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: "@" + d.name, Net: "unix"}); err != nil {
		return nil, err
	}
	go d.accept(r)
	return d, nil
}

func (d *door) accept(r *receiver) {
	for {
		conn, err := d.listener.AcceptUnix()
		if err != nil {
			return
		}
		if !ourOwn(conn) || !d.keep(conn) {
			conn.Close()
			continue
		}
		go func() {
			defer conn.Close()
			r.stop(frames(conn, func(kind) (*receiver, error) { return r, nil }))
		}()
	}
}

func (d *door) keep(conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.conns) == maxJoined {
		return false
	}
	d.conns = append(d.conns, conn)
	return true
}

func (d *door) close() {
	d.listener.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, c := range d.conns {
		c.Close()
	}
}

// ourOwn reports whether the other end is a process of the same user.
func ourOwn(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	var optErr error
	err = raw.Control(func(fd uintptr) { peer, optErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return err == nil && optErr == nil && int(peer.Uid) == os.Geteuid()
}

// Join hands what comes by this lane to the agent that receives the push, until either ends.
func (in *Incoming) Join() error {
	name := in.Open.GetJoin()
	if !doorName.MatchString(name) {
		return fault.New(agentpb.Reason_INVALID, "%q is no push that a lane can join", name)
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: "@" + name, Net: "unix"})
	if err != nil {
		return fmt.Errorf("the push that this lane belongs to isn't there: %w", err)
	}
	defer conn.Close()
	if !ourOwn(conn) {
		return fault.New(agentpb.Reason_PERMISSION, "the push that this lane belongs to is another user's")
	}
	if err := in.send(kindProgress, &agentpb.LaneProgress{}); err != nil {
		return ErrCut
	}
	go in.report()
	defer context.AfterFunc(in.ctx, func() { conn.Close() })()
	go func() { // the receiver says nothing, so that an answer is its end
		_, _ = conn.Read(make([]byte, 1))
		in.cancel(ErrCut)
	}()
	buf := make([]byte, 256<<10)
	for {
		n, err := inReader{in}.Read(buf)
		if _, writeErr := conn.Write(buf[:n]); writeErr != nil {
			return ErrCut
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return ErrCut
		}
	}
}
