package models

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// inode names a file of this machine.
type inode struct{ device, number uint64 }

// users finds the processes that have files open or mapped, by file. A unit's processes are
// named by their unit, others by their command and number. Processes that the agent may not look
// into, and the agent itself, are left out.
func users(proc string, files map[inode]bool) map[inode][]string {
	numbers := map[uint64]bool{}
	for f := range files {
		numbers[f.number] = true
	}
	found := map[inode][]string{}
	entries, _ := os.ReadDir(proc)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join(proc, e.Name())
		name := ""
		use := func(f inode) {
			if !files[f] {
				return
			}
			if name == "" {
				name = processName(dir, pid)
			}
			if !slices.Contains(found[f], name) {
				found[f] = append(found[f], name)
			}
		}
		openFiles(dir, use)
		mappedFiles(dir, numbers, use)
	}
	for _, names := range found {
		slices.Sort(names)
	}
	return found
}

func openFiles(process string, use func(inode)) {
	dir := filepath.Join(process, "fd")
	fds, _ := os.ReadDir(dir)
	for _, fd := range fds {
		if f, ok := fileBehind(filepath.Join(dir, fd.Name())); ok {
			use(f)
		}
	}
}

// mappedFiles looks at maps first, which is one read, and asks for the device only where the
// number of an inode fits: maps shows another device than stat(2) on file systems with volumes.
func mappedFiles(process string, numbers map[uint64]bool, use func(inode)) {
	maps, err := os.Open(filepath.Join(process, "maps"))
	if err != nil {
		return
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text()) // range, rights, offset, device, inode, path
		if len(fields) < 5 {
			continue
		}
		number, err := strconv.ParseUint(fields[4], 10, 64)
		if err != nil || !numbers[number] {
			continue
		}
		if f, ok := fileBehind(filepath.Join(process, "map_files", fields[0])); ok {
			use(f)
		} else if device, ok := parseDevice(fields[3]); ok { // map_files needs a capability
			use(inode{device, number})
		}
	}
}

// fileBehind is the regular file that a link of /proc stands for.
func fileBehind(link string) (inode, bool) {
	var st unix.Stat_t
	if err := unix.Stat(link, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return inode{}, false
	}
	return inode{uint64(st.Dev), st.Ino}, true
}

func parseDevice(text string) (uint64, bool) {
	major, minor, ok := strings.Cut(text, ":")
	a, err1 := strconv.ParseUint(major, 16, 32)
	b, err2 := strconv.ParseUint(minor, 16, 32)
	return unix.Mkdev(uint32(a), uint32(b)), ok && err1 == nil && err2 == nil
}

// processName is the unit that a process belongs to, or what it is called.
func processName(process string, pid int) string {
	if groups, err := os.ReadFile(filepath.Join(process, "cgroup")); err == nil {
		if unit := unitOf(string(groups)); unit != "" {
			return unit
		}
	}
	command, err := os.ReadFile(filepath.Join(process, "comm"))
	if err != nil {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(command)), pid)
}

// unitOf finds the service in a process's control group. What runs in a person's session is no
// service.
func unitOf(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		_, path, ok := strings.Cut(line, "::") // the unified hierarchy, see cgroups(7)
		if !ok {
			continue
		}
		path = strings.TrimSpace(path)
		for dir := path; dir != "/" && dir != "." && dir != ""; dir = filepath.Dir(dir) {
			if name := filepath.Base(dir); strings.HasSuffix(name, ".service") && !strings.HasPrefix(name, "user@") {
				return name
			}
		}
	}
	return ""
}
