package engine

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// aliveSince reports whether a process with this pid exists and already did at that time. A
// younger process has merely got a dead one's number.
func aliveSince(pid int, since time.Time) bool {
	if pid <= 0 {
		return false
	}
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	started, ok := processStart(pid)
	// The kernel counts starts in ticks of 10 ms from a boot time in whole seconds.
	if !ok || started.Before(since.Add(2*time.Second)) {
		return true
	}
	// When the clock is set forward, the boot time goes along, and a process looks younger than
	// the lock that it holds. One that may hold a lock is believed; this one knows its own.
	return pid != os.Getpid() && changesStates(pid)
}
