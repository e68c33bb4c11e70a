package systemd

import (
	"context"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// lookEvery is how often a job is looked up, in case the signal of its end was lost with a
// restart of the bus.
const lookEvery = 5 * time.Second

// Start starts a unit and waits for the end of the job.
func (m *Manager) Start(ctx context.Context, name string) error {
	return m.job(ctx, "start", name, (*systemd.Conn).StartUnitContext)
}

// Restart stops a unit if it runs and starts it.
func (m *Manager) Restart(ctx context.Context, name string) error {
	return m.job(ctx, "restart", name, (*systemd.Conn).RestartUnitContext)
}

// Stop stops a unit. One that isn't loaded doesn't run.
func (m *Manager) Stop(ctx context.Context, name string) error {
	return m.job(ctx, "stop", name, (*systemd.Conn).StopUnitContext)
}

type jobStarter func(c *systemd.Conn, ctx context.Context, name, mode string, ch chan<- string) (int, error)

func (m *Manager) job(ctx context.Context, what, name string, start jobStarter) error {
	conn, _, err := m.connect()
	if err != nil {
		return err
	}
	// The buffer matters: the library sends while it holds a lock, so that a result which
	// nobody takes any more would stop all other jobs.
	result := make(chan string, 1)
	id, err := start(conn, ctx, name, "replace", result)
	if what == "stop" && isBusError(err, busName+".NoSuchUnit") {
		return nil
	}
	if err != nil {
		return refused(what, name, err)
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case how := <-result:
			return jobResult(what, name, how)
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
			if there, err := m.hasJob(ctx, name, id); err != nil || there {
				continue
			}
			select { // the signal may have come between the two
			case how := <-result:
				return jobResult(what, name, how)
			case <-time.After(time.Second):
				return nil // what became of it is in the unit's state
			}
		}
	}
}

// hasJob reports whether a job is still a unit's.
func (m *Manager) hasJob(ctx context.Context, name string, id int) (bool, error) {
	conn, _, err := m.connect()
	if err != nil {
		return false, err
	}
	jobs, err := conn.ListJobsContext(ctx)
	if err != nil {
		return false, err
	}
	for _, j := range jobs {
		if j.Unit == name && (id == 0 || int(j.Id) == id) {
			return true, nil
		}
	}
	return false, nil
}

// jobResult puts systemd's word for how a job ended (systemd.unit and the D-Bus API's
// JobRemoved) into an error.
func jobResult(what, name, how string) error {
	why := map[string]string{
		"canceled":    "another job has taken its place",
		"timeout":     "it took longer than the unit allows",
		"failed":      "it has failed",
		"dependency":  "a unit that it requires has failed",
		"invalid":     "the unit can't do that",
		"unsupported": "the unit can't do that on this machine",
		"collected":   "the unit was unloaded meanwhile",
		"once":        "the unit was already started once since boot",
	}[how]
	switch {
	case how == "done" || how == "skipped":
		return nil
	case why == "":
		why = "it ended as " + how
	}
	return fault.New(agentpb.Reason_UNIT_FAILED, "systemd could not %s %s: %s", what, name, why).With("unit", name).With("result", how)
}
