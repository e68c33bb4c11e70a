package systemd

import (
	"context"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// monotonic is an element of a timer's TimersMonotonic (org.freedesktop.systemd1(5)).
type monotonic struct {
	Base         string
	Microseconds uint64
}

// Schedule has a command run after a time, by a timer and a service that are gone with the next
// boot. No unit file is written and nothing is reloaded.
func (m *Manager) Schedule(ctx context.Context, name string, after time.Duration, command []string) error {
	conn, _, err := m.connect()
	if err != nil {
		return err
	}
	property := func(name string, value any) systemd.Property {
		return systemd.Property{Name: name, Value: dbus.MakeVariant(value)}
	}
	timer := []systemd.Property{
		systemd.PropDescription("Undo a change unless llmhost confirms it"),
		property("TimersMonotonic", []monotonic{{"OnActiveSec", uint64(after / time.Microsecond)}}),
		property("AccuracyUSec", uint64(time.Second/time.Microsecond)),
		property("RemainAfterElapse", false),
	}
	service := systemd.PropertyCollection{Name: name + ".service", Properties: []systemd.Property{
		systemd.PropDescription("Undo a change that llmhost has not confirmed"),
		systemd.PropType("oneshot"),
		systemd.PropExecStart(command, false),
		property("SyslogIdentifier", "llmhost-undo"),
	}}
	result := make(chan string, 1) // see job
	if _, err := conn.StartTransientUnitAux(ctx, name+".timer", "fail", timer, []systemd.PropertyCollection{service}, result); err != nil {
		return refused("start", name+".timer", err)
	}
	select {
	case how := <-result:
		return jobResult("start", name+".timer", how)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Unschedule takes away what Schedule has made, unless it has run.
func (m *Manager) Unschedule(ctx context.Context, name string) error {
	return m.Stop(ctx, name+".timer")
}

// ReloadUnit has a service read its configuration again.
func (m *Manager) ReloadUnit(ctx context.Context, name string) error {
	return m.job(ctx, "reload", name, (*systemd.Conn).ReloadUnitContext)
}
