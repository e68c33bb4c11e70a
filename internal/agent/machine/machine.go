// Package machine finds out what only the machine knows and what a host file can't say: its
// processor, its memory, its graphics cards, its versions. It reads what the kernel shows as
// files.
package machine

import (
	"bufio"
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Root is the root directory of a machine.
type Root string

func (r Root) at(path string) string { return filepath.Join(string(r), path) }

// text is a small file's content without the space around it, and "" where there is none: what
// a kernel doesn't show isn't known, which is no error.
func (r Root) text(path string) string {
	content, err := os.ReadFile(r.at(path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

// OS returns ID and VERSION_ID of os-release(5).
func (r Root) OS() (id, version string) {
	values := assignments(r.text("/etc/os-release"))
	if len(values) == 0 {
		values = assignments(r.text("/usr/lib/os-release"))
	}
	return values["ID"], values["VERSION_ID"]
}

func assignments(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[name] = strings.Trim(value, `"'`)
		}
	}
	return values
}

// CPU returns the processor's name and the number of its cores. Threads that share a core count
// as one where the kernel says so (x86); elsewhere each processor is a core.
func (r Root) CPU() (model string, cores uint32) {
	var processors uint32
	physical := map[string]bool{}
	var socket string
	lines := bufio.NewScanner(strings.NewReader(r.text("/proc/cpuinfo")))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(name) {
		case "processor":
			processors++
		case "physical id":
			socket = value
		case "core id":
			physical[socket+" "+value] = true
		case "model name":
			model = value
		}
	}
	if model == "" {
		model = strings.TrimRight(r.text("/proc/device-tree/model"), "\x00")
	}
	if len(physical) > 0 {
		return model, uint32(len(physical))
	}
	return model, processors
}

// Memory is the memory that the kernel manages, in bytes, rounded down to MiB: the rest varies
// with the kernel.
func (r Root) Memory() uint64 {
	for line := range strings.Lines(r.text("/proc/meminfo")) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return kib >> 10 << 20
		}
	}
	return 0
}

// gpuClasses are the classes of character devices that belong to accelerators, or the
// beginnings of their names.
var gpuClasses = []string{"nvidia", "drm", "kfd", "accel"}

// DeviceClasses are the classes of accelerators' devices in the form that systemd's DeviceAllow=
// takes, sorted.
func (r Root) DeviceClasses() []string {
	found := map[string]bool{}
	for line := range strings.Lines(r.text("/proc/devices")) {
		if strings.HasPrefix(line, "Block") {
			break
		}
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		for _, class := range gpuClasses {
			if fields[1] == class || class == "nvidia" && strings.HasPrefix(fields[1], class) {
				found["char-"+fields[1]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func (r Root) list(dir string) []string {
	entries, err := os.ReadDir(r.at(dir))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// field is the value of "NAME: value" in a text.
func field(text, name string) string {
	lines := bufio.NewScanner(bytes.NewReader([]byte(text)))
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
