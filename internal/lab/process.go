package lab

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// process names one process for good: an ID alone is used again by another.
type process struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // field 22 of /proc/PID/stat
	Boot    string `json:"boot"`
}

// identify describes a running process.
func identify(pid int) (process, error) {
	state, started, err := processStat(pid)
	if err != nil {
		return process{}, err
	}
	if state == "Z" {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	return process{PID: pid, Started: started, Boot: bootID()}, nil
}

// running says whether the very process still runs, and was started with the arguments
// "-name NAME".
func (p process) running(name string) bool {
	now, err := identify(p.PID)
	if err != nil || now != p {
		return false
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	if err != nil {
		return false
	}
	args := strings.Split(string(bytes.TrimRight(command, "\x00")), "\x00")
	i := slices.Index(args, "-name")
	return i >= 0 && i+1 < len(args) && args[i+1] == name
}

// processStat reads a process's state and start time. The name before them may hold anything.
func processStat(pid int) (state, started string, err error) {
	content, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", "", err
	}
	_, rest, ok := strings.Cut(string(content[bytes.LastIndexByte(content, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return "", "", fmt.Errorf("/proc/%d/stat is in an unknown form", pid)
	}
	return fields[0], fields[19], nil
}
