// Package systemd drives the systemd of the host: over D-Bus what runs, and as files what is
// configured.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

const (
	busName      = "org.freedesktop.systemd1"
	busObject    = dbus.ObjectPath("/org/freedesktop/systemd1")
	busManager   = busName + ".Manager"
	privateBus   = "unix:path=/run/systemd/private"
	bootedMarker = "/run/systemd/system" // sd_booted(3)
)

// Manager is a running systemd: the host's, or one of a user. It connects when it is first used and
// again when the bus was restarted.
type Manager struct {
	socket string // of a user's manager; empty: the host's

	mu      sync.Mutex
	conn    *systemd.Conn
	raw     *dbus.Conn
	reloads coalescer
}

// booted reports whether systemd is this machine's process 1.
func booted() bool {
	info, err := os.Lstat(bootedMarker)
	return err == nil && info.IsDir()
}

// Available reports whether the machine's systemd can be driven.
func (m *Manager) Available() bool {
	_, _, err := m.connect()
	return err == nil
}

// Close closes the connection.
func (m *Manager) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closeLocked()
	return nil
}

func (m *Manager) closeLocked() {
	if m.conn != nil {
		m.conn.Close()
		m.raw.Close()
		m.conn, m.raw = nil, nil
	}
}

// connect returns a live connection. It outlives the call that has opened it.
func (m *Manager) connect() (*systemd.Conn, *dbus.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn != nil && m.conn.Connected() && m.raw.Connected() {
		return m.conn, m.raw, nil
	}
	m.closeLocked()
	if !booted() {
		return nil, nil, unavailable(errors.New("process 1 is another program"))
	}
	conn, err := systemd.NewConnection(m.dial)
	if err != nil {
		return nil, nil, unavailable(err)
	}
	raw, err := m.dial()
	if err != nil {
		conn.Close()
		return nil, nil, unavailable(err)
	}
	m.conn, m.raw = conn, raw
	return conn, raw, nil
}

func unavailable(err error) error {
	e := fault.New(agentpb.Reason_NO_SYSTEMD, "the host's systemd can't be reached: %v", err)
	e.Err = err
	return e
}

// dial opens the system bus, and systemd's own socket where there is no bus. A user's manager has
// a socket of its own that root may open, and a bus that root may not.
func (m *Manager) dial() (*dbus.Conn, error) {
	if m.socket != "" {
		return dialDirectly(m.socket)
	}
	conn, err := dbus.ConnectSystemBus()
	if err == nil {
		return conn, nil
	}
	if direct, directErr := dialDirectly(privateBus); directErr == nil {
		return direct, nil
	}
	return nil, err
}

func dialDirectly(address string) (*dbus.Conn, error) {
	conn, err := dbus.Dial(address)
	if err != nil {
		return nil, err
	}
	// The number is given, since a name would have to be looked up.
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Reload makes systemd read all unit files again.
func (m *Manager) Reload(ctx context.Context) error {
	return m.reloads.do(ctx, func() error {
		conn, _, err := m.connect()
		if err != nil {
			return err
		}
		// It serves several callers, so that none of them may end it.
		ctx, cancel := context.WithTimeout(context.Background(), reloadTimeout)
		defer cancel()
		if err := conn.ReloadContext(ctx); err != nil {
			return fmt.Errorf("reload systemd's units: %w", err)
		}
		return nil
	})
}

// reloadTimeout bounds one reload; systemd's own default limit for generators is 90 s.
const reloadTimeout = 2 * time.Minute

// Enable makes a unit start at boot.
func (m *Manager) Enable(ctx context.Context, name string) error {
	conn, _, err := m.connect()
	if err != nil {
		return err
	}
	if _, _, err := conn.EnableUnitFilesContext(ctx, []string{name}, false, true); err != nil {
		return refused("enable", name, err)
	}
	return nil
}

// Disable undoes Enable, and enabling until the next boot too.
func (m *Manager) Disable(ctx context.Context, name string) error {
	conn, _, err := m.connect()
	if err != nil {
		return err
	}
	for _, untilBoot := range []bool{false, true} {
		if _, err := conn.DisableUnitFilesContext(ctx, []string{name}, untilBoot); err != nil {
			return refused("disable", name, err)
		}
	}
	return nil
}

// ResetFailed forgets that a unit has failed, and how often it was started of late. A unit that
// isn't loaded has nothing to forget.
func (m *Manager) ResetFailed(ctx context.Context, name string) error {
	conn, _, err := m.connect()
	if err != nil {
		return err
	}
	err = conn.ResetFailedUnitContext(ctx, name)
	if isBusError(err, busName+".NoSuchUnit") {
		return nil
	}
	if err != nil {
		return refused("reset", name, err)
	}
	return nil
}

func refused(what, name string, err error) error {
	e := fault.New(agentpb.Reason_UNIT_FAILED, "systemd refuses to %s %s: %v", what, name, err).With("unit", name)
	e.Err = err
	return e
}

func isBusError(err error, name string) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == name
}
