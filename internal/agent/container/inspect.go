package container

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Properties of a container that runs, by name. Limits and privileges are what the kernel says of
// its process, and not what was asked for.
const (
	PropertyImage           = "image"           // its reference if that holds a digest, else its id
	PropertyUser            = "user"            // UID:GID inside
	PropertyHostUser        = "hostUser"        // UID on the host that its process has
	PropertyCapabilities    = "capabilities"    // bounding set, in hexadecimal
	PropertyNoNewPrivileges = "noNewPrivileges" // true or false
	PropertySeccomp         = "seccomp"         // filter, strict or off
	PropertyReadOnly        = "readOnly"        // true or false
	PropertyPrivileged      = "privileged"      // true or false
	PropertyNetwork         = "network"         // mode, such as none
	PropertyPorts           = "ports"           // HOST:PORT:PORT, separated by blanks
	PropertyMounts          = "mounts"          // SOURCE:TARGET:ro or rw, separated by blanks
	PropertyMemory          = "memory"          // bytes, or max
	PropertySwap            = "swap"            // bytes, or max
	PropertyTasks           = "tasks"           // number, or max
	PropertyCPU             = "cpu"             // microseconds in a period of microseconds, or max
	PropertyHealth          = "health"          // where the container has a check
	PropertyOOMKilled       = "oomKilled"       // true or false
)

// Running describes a container that runs. It is nil when there is none of the name.
func (r *Runtime) Running(ctx context.Context, name string) (map[string]string, error) {
	out, err := r.ask(ctx, "container", "inspect", "--format", "{{json .}}", "--", name)
	var no *refusal
	if errors.As(err, &no) && no.says("no such container", "no such object", "no container with name or id") {
		return nil, nil
	}
	if err != nil {
		return nil, failed(err)
	}
	var seen inspected
	if err := json.Unmarshal(out, &seen); err != nil {
		return nil, fmt.Errorf("read what %s says of %s: %w", r.Name, name, err)
	}
	if !seen.State.Running || seen.State.Pid <= 0 {
		return nil, nil
	}
	properties := seen.properties()
	if err := ofProcess(properties, "/proc", "/sys/fs/cgroup", seen.State.Pid); err != nil {
		if errors.Is(err, os.ErrNotExist) { // it has ended meanwhile
			return nil, nil
		}
		return nil, fmt.Errorf("look at the process of the container %s: %w", name, err)
	}
	return properties, nil
}

// inspected is what is looked at of a container's description.
type inspected struct {
	Image     string
	ImageName string
	State     struct {
		Running   bool
		Pid       int
		OOMKilled bool
		Health    *struct{ Status string }
	}
	Config     struct{ User string }
	HostConfig struct {
		Privileged     bool
		ReadonlyRootfs bool
		NetworkMode    string
		PortBindings   map[string][]struct{ HostIP, HostPort string }
	}
	Mounts []struct {
		Source, Destination string
		RW                  bool
	}
}

func (i *inspected) properties() map[string]string {
	p := map[string]string{
		PropertyImage:      withAlgorithm(i.Image),
		PropertyUser:       i.Config.User,
		PropertyReadOnly:   strconv.FormatBool(i.HostConfig.ReadonlyRootfs),
		PropertyPrivileged: strconv.FormatBool(i.HostConfig.Privileged),
		PropertyNetwork:    i.HostConfig.NetworkMode,
		PropertyOOMKilled:  strconv.FormatBool(i.State.OOMKilled),
	}
	if strings.Contains(i.ImageName, "@sha256:") {
		p[PropertyImage] = i.ImageName
	}
	if i.State.Health != nil && i.State.Health.Status != "" {
		p[PropertyHealth] = i.State.Health.Status
	}
	var ports, mounts []string
	for inside, bindings := range i.HostConfig.PortBindings {
		port, _, _ := strings.Cut(inside, "/")
		for _, b := range bindings {
			ports = append(ports, b.HostIP+":"+b.HostPort+":"+port)
		}
	}
	for _, m := range i.Mounts {
		mode := "ro"
		if m.RW {
			mode = "rw"
		}
		mounts = append(mounts, m.Source+":"+m.Destination+":"+mode)
	}
	slices.Sort(ports)
	slices.Sort(mounts)
	p[PropertyPorts], p[PropertyMounts] = strings.Join(ports, " "), strings.Join(mounts, " ")
	return p
}

// ofProcess adds what the kernel says of a container's first process.
func ofProcess(p map[string]string, proc, cgroups string, pid int) error {
	folder := filepath.Join(proc, strconv.Itoa(pid))
	status, err := os.Open(filepath.Join(folder, "status"))
	if err != nil {
		return err
	}
	defer status.Close()
	lines := bufio.NewScanner(status)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Uid":
			p[PropertyHostUser], _, _ = strings.Cut(value, "\t")
		case "CapBnd":
			p[PropertyCapabilities] = value
		case "NoNewPrivs":
			p[PropertyNoNewPrivileges] = strconv.FormatBool(value == "1")
		case "Seccomp": // proc_pid_status(5)
			p[PropertySeccomp] = map[string]string{"0": "off", "1": "strict", "2": "filter"}[value]
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	cgroup, err := os.ReadFile(filepath.Join(folder, "cgroup"))
	if err != nil {
		return err
	}
	_, own, ok := strings.Cut(strings.TrimSpace(string(cgroup)), "0::")
	if !ok {
		return nil // before cgroup v2 no user without privileges could be limited
	}
	for file, property := range map[string]string{"memory.max": PropertyMemory, "memory.swap.max": PropertySwap, "pids.max": PropertyTasks, "cpu.max": PropertyCPU} {
		limit, err := os.ReadFile(filepath.Join(cgroups, own, file))
		if errors.Is(err, os.ErrNotExist) {
			p[property] = "max" // the controller isn't the group's
			continue
		}
		if err != nil {
			return err
		}
		p[property] = strings.TrimSpace(string(limit))
		if strings.HasPrefix(p[property], "max") {
			p[property] = "max" // cpu.max holds the period, too
		}
	}
	return nil
}
