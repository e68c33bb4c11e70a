package systemd

import (
	"context"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// State is what systemd says of a unit (org.freedesktop.systemd1(5)).
type State struct {
	Load         string // loaded, not-found, masked, bad-setting, error
	LoadError    string
	FragmentPath string
	DropInPaths  []string
	Enabled      bool // at every boot
	Active       string
	Sub          string
	Result       string
	Restarts     uint32
	MainPID      uint32
	NeedsReload  bool // the files have changed since systemd read them
	Requires     []string
	// Started is when the main process was started; zero when there is none.
	Started time.Time
	// ConditionFailed says that the last start was skipped because of a condition.
	ConditionFailed bool
}

// Runs reports whether the unit is running or about to.
func (s *State) Runs() bool {
	switch s.Active {
	case "active", "activating", "reloading", "refreshing":
		return true
	default:
		return false
	}
}

// State asks systemd about a unit, which it loads for that if it must. The unit needn't exist.
func (m *Manager) State(ctx context.Context, name string) (*State, error) {
	conn, raw, err := m.connect()
	if err != nil {
		return nil, err
	}
	properties, err := conn.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return nil, refused("describe", name, err)
	}
	s := &State{
		Load:         property[string](properties, "LoadState"),
		FragmentPath: property[string](properties, "FragmentPath"),
		DropInPaths:  property[[]string](properties, "DropInPaths"),
		Active:       property[string](properties, "ActiveState"),
		Sub:          property[string](properties, "SubState"),
		Result:       property[string](properties, "Result"),
		Restarts:     property[uint32](properties, "NRestarts"),
		MainPID:      property[uint32](properties, "MainPID"),
		NeedsReload:  property[bool](properties, "NeedDaemonReload"),
		Requires:     property[[]string](properties, "Requires"),
	}
	if s.MainPID != 0 {
		s.Started = started(property[uint64](properties, "ExecMainStartTimestamp"), property[uint64](properties, "ExecMainStartTimestampMonotonic"))
	}
	if e := property[[]any](properties, "LoadError"); len(e) == 2 {
		s.LoadError, _ = e[1].(string)
	}
	if checked := property[uint64](properties, "ConditionTimestamp"); checked > 0 {
		s.ConditionFailed = !property[bool](properties, "ConditionResult")
	}
	// The unit's own property is remembered by systemd from when it last looked, and a link
	// that was removed by hand doesn't change it. This call looks at the disk.
	var enabled string
	err = raw.Object(busName, busObject).CallWithContext(ctx, busManager+".GetUnitFileState", 0, name).Store(&enabled)
	if _, fromSystemd := err.(dbus.Error); err != nil && !fromSystemd { // systemd's error is that there is no file
		return nil, refused("describe", name, err)
	}
	s.Enabled = enabled == "enabled"
	return s, nil
}

// started is when something was started, from both of systemd's clocks in microseconds. The wall
// clock may have been wrong then, and the other one stands still while the machine sleeps; the
// later of the two is certain not to be too early.
func started(wall, monotonic uint64) time.Time {
	at := time.UnixMicro(int64(wall))
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return at
	}
	ago := time.Duration(now.Nano()) - time.Duration(monotonic)*time.Microsecond
	if other := time.Now().Add(-ago); other.After(at) {
		return other
	}
	return at
}

// property is a property of the expected type, and the type's zero value for units that don't
// have it: a slice has no process.
func property[T any](properties map[string]any, name string) T {
	v, _ := properties[name].(T)
	return v
}
