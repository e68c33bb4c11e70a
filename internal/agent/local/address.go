// Package local reaches the servers of the host itself, and nothing else: a socket below one
// folder, or a port on the loopback interface. The agent is root, and what it connects to must
// not depend on where a link in a server's own folder points.
package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// DefaultSocketDir holds the folders of the servers' sockets.
const DefaultSocketDir = "/run/llmhost"

// Dialer connects to servers of this host.
type Dialer struct {
	SocketDir string
}

// Dial connects to "unix:PATH", with a path below SocketDir, or to "tcp:ADDRESS:PORT" with a
// loopback address. Everything else is INVALID.
func (d Dialer) Dial(ctx context.Context, address string) (net.Conn, error) {
	network, rest, _ := strings.Cut(address, ":")
	switch network {
	case "unix":
		return d.socket(ctx, rest)
	case "tcp":
		ap, err := netip.ParseAddrPort(rest)
		if err != nil || !ap.Addr().IsLoopback() || ap.Port() == 0 {
			return nil, refuse(address, "the address must be a number of the loopback interface with a port, such as tcp:127.0.0.1:8002")
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", ap.String())
	default:
		return nil, refuse(address, "the address must start with unix: or tcp:")
	}
}

func refuse(address, why string) error {
	return fault.New(agentpb.Reason_INVALID, "%q can't be reached through the agent: %s", address, why)
}

// socket finds the socket without following any link, and connects to just what it has found.
func (d Dialer) socket(ctx context.Context, path string) (net.Conn, error) {
	below, ok := strings.CutPrefix(path, d.SocketDir+"/")
	if !ok || below == "" || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
		return nil, refuse("unix:"+path, "the socket must be below "+d.SocketDir)
	}
	dir, err := os.OpenFile(d.SocketDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", d.SocketDir, err)
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), below, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV):
		return nil, refuse("unix:"+path, "a part of the path is a symbolic link")
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	socket := os.NewFile(uintptr(fd), path)
	defer socket.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, refuse("unix:"+path, "it is not a socket")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", fd))
	var op *net.OpError
	if errors.As(err, &op) { // without the number of the descriptor
		return nil, fmt.Errorf("connect to %s: %w", path, op.Err)
	}
	return conn, err
}
