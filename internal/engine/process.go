package engine

import (
	"errors"
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
	return !ok || started.Before(since.Add(2*time.Second))
}
