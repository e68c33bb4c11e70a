package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is USER_HZ, which Linux fixes at 100 for everything in /proc.
const ticksPerSecond = 100

// processStart is when a process began, from /proc/PID/stat (field 22) and the boot time; see proc(5).
func processStart(pid int) (time.Time, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return time.Time{}, false
	}
	// The command's name, in parentheses, may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return time.Time{}, false
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return time.Now().Add(time.Hour), true // a zombie holds nothing any more
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	kernel, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, false
	}
	for line := range strings.Lines(string(kernel)) {
		if text, ok := strings.CutPrefix(line, "btime "); ok {
			boot, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			if err != nil {
				return time.Time{}, false
			}
			return time.Unix(boot, 0).Add(time.Duration(ticks) * time.Second / ticksPerSecond), true
		}
	}
	return time.Time{}, false
}

// changesStates reports whether a process runs a program that locks stacks: this one, or Pulumi's.
func changesStates(pid int) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false // a zombie has none
	}
	own, err := os.Executable()
	// A program that was upgraded since is "(deleted)".
	name := filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
	return name == "pulumi" || err == nil && name == filepath.Base(strings.TrimSuffix(own, " (deleted)"))
}
