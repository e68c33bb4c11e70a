package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process names one process for good: an ID alone is used again by another.
type process struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // field 22 of /proc/PID/stat
	Boot    string `json:"boot"`
}

// identify describes a running process.
func identify(pid int) (process, error) {
	stat, err := readStat(pid)
	if err != nil {
		return process{}, err
	}
	if stat.state == "Z" {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	return process{PID: pid, Started: stat.started, Boot: bootID()}, nil
}

// alive says whether the very process still runs.
func (p process) alive() bool {
	now, err := identify(p.PID)
	return err == nil && now == p
}

// named says whether the process was started with the arguments "-name NAME".
func (p process) named(name string) bool {
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	if err != nil {
		return false
	}
	args := strings.Split(string(bytes.TrimRight(command, "\x00")), "\x00")
	i := slices.Index(args, "-name")
	return i >= 0 && i+1 < len(args) && args[i+1] == name
}

// kill ends the very process, and no other that has got its ID since.
func (p process) kill() error {
	// The handle is of one process for good, so that what is checked is what is ended.
	handle, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		return err
	}
	defer unix.Close(handle)
	if !p.alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// descendants are the children of a process, their children, and so on.
func descendants(pid int) []process {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is valid
	children := map[int][]int{}
	for _, path := range stats {
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if stat, err := readStat(child); err == nil {
			children[stat.parent] = append(children[stat.parent], child)
		}
	}
	var found []process
	for queue := children[pid]; len(queue) > 0; queue = queue[1:] {
		if p, err := identify(queue[0]); err == nil {
			found = append(found, p)
		}
		queue = append(queue, children[queue[0]]...)
	}
	return found
}

type processStat struct {
	state   string
	parent  int
	started string
}

// readStat reads /proc/PID/stat. The program's name in it, in parentheses, may hold anything.
func readStat(pid int) (processStat, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return processStat{}, err
	}
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	if len(fields) < 20 {
		return processStat{}, fmt.Errorf("/proc/%d/stat is in an unknown form", pid)
	}
	parent, err := strconv.Atoi(fields[1])
	return processStat{state: fields[0], parent: parent, started: fields[19]}, err
}
