package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// monitor speaks QEMU's machine protocol (QMP) with a running host.
type monitor struct {
	conn net.Conn
	in   *bufio.Reader
}

// openMonitor connects to a host's monitor and waits until QEMU listens on it. gone ends the
// wait when there is nothing to wait for any more.
func openMonitor(ctx context.Context, path string, gone func() error) (*monitor, error) {
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			m := &monitor{conn: conn, in: bufio.NewReader(conn)}
			if err := m.greet(ctx); err != nil {
				conn.Close()
				return nil, err
			}
			return m, nil
		}
		if goneErr := gone(); goneErr != nil {
			return nil, goneErr
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("QEMU's monitor: %w", errors.Join(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (m *monitor) greet(ctx context.Context) error {
	stop := m.bound(ctx)
	defer stop()
	if _, err := m.in.ReadBytes('\n'); err != nil {
		return fmt.Errorf("QEMU's monitor: %w", err)
	}
	return m.command(ctx, "qmp_capabilities", nil, nil)
}

// bound makes reads and writes end with the context.
func (m *monitor) bound(ctx context.Context) (stop func() bool) {
	m.conn.SetDeadline(time.Time{})
	return context.AfterFunc(ctx, func() { m.conn.SetDeadline(time.Unix(1, 0)) })
}

// command runs one command and decodes what it returns, unless result is nil.
func (m *monitor) command(ctx context.Context, name string, args map[string]any, result any) error {
	stop := m.bound(ctx)
	defer stop()
	request := map[string]any{"execute": name}
	if args != nil {
		request["arguments"] = args
	}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return fmt.Errorf("QEMU's monitor, %s: %w", name, err)
	}
	for {
		line, err := m.in.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("QEMU's monitor, %s: %w", name, err)
		}
		var reply struct {
			Event  string          `json:"event"`
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Description string `json:"desc"`
			} `json:"error"`
		}
		if err := json.Unmarshal(line, &reply); err != nil {
			return fmt.Errorf("QEMU's monitor, %s: %w", name, err)
		}
		switch {
		case reply.Event != "":
			continue
		case reply.Error != nil:
			return fmt.Errorf("QEMU refused %s: %s", name, reply.Error.Description)
		case result != nil:
			return json.Unmarshal(reply.Return, result)
		}
		return nil
	}
}

// await polls a state of QEMU until it is as wanted.
func (m *monitor) await(ctx context.Context, query string, done func(status string) (bool, error)) error {
	for {
		var state struct {
			Status string `json:"status"`
		}
		if err := m.command(ctx, query, nil, &state); err != nil {
			return err
		}
		if ok, err := done(state.Status); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("QEMU's monitor, %s: %w", query, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (m *monitor) Close() error { return m.conn.Close() }

// maxSocketPath is below the 108 bytes that Linux allows, with room for QEMU's own suffixes.
const maxSocketPath = 96

// monitorPath is where a host's monitor listens: in its folder, or, when that path is too
// long for a socket, in a folder of its own that this user alone can enter.
func monitorPath(dir string) (path string, err error) {
	path = filepath.Join(dir, "qmp.sock")
	if len(path) <= maxSocketPath {
		return path, nil
	}
	short, err := os.MkdirTemp("", "llmhost-lab-")
	if err != nil {
		return "", err
	}
	return filepath.Join(short, "qmp.sock"), nil
}
