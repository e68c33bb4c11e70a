package docker

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Container is a container of a compose project as it is.
type Container struct {
	ID         string
	Name       string
	Service    string // of the project; empty for one that says no service
	OneOff     bool   // made by `docker compose run`
	Image      string // the image's id
	ConfigHash string // Compose's, of the service that it was made for

	State     string // created, running, paused, restarting, removing, exited, dead
	Health    string // starting, healthy, unhealthy; empty without a health check
	Restarts  uint32
	OOMKilled bool
	ExitCode  int32

	// Properties are what was decided when the container was made or changed since, as text that
	// can be compared. What Docker chooses anew at each start isn't in it.
	Properties map[string]string
}

// inspected is the part of Docker's answer (GET /containers/ID/json) that is looked at.
type inspected struct {
	ID           string `json:"Id"`
	Name         string
	Image        string
	RestartCount uint32
	State        struct {
		Status    string
		OOMKilled bool
		ExitCode  int32
		Health    *struct{ Status string }
	}
	Config struct {
		Labels map[string]string
	}
	Mounts []struct {
		Source, Destination, Propagation string
		RW                               bool
	}
	NetworkSettings struct {
		Networks map[string]json.RawMessage
	}
}

// configured are properties of the container's configuration by their names in a report, with
// Docker's names. They are what Docker was asked for.
var configured = map[string]string{
	"image": "Image", "user": "User", "entrypoint": "Entrypoint", "command": "Cmd", "healthcheck": "Healthcheck",
	"workdir": "WorkingDir", "stop_signal": "StopSignal", "stop_timeout": "StopTimeout", "tty": "Tty",
}

// hostConfigured are those of what the host gives the container.
var hostConfigured = map[string]string{
	"memory": "Memory", "memory_swap": "MemorySwap", "memory_reservation": "MemoryReservation", "cpus": "NanoCpus",
	"cpu_quota": "CpuQuota", "cpu_period": "CpuPeriod", "cpu_shares": "CpuShares", "cpuset": "CpusetCpus", "pids": "PidsLimit",
	"restart": "RestartPolicy", "cap_add": "CapAdd", "cap_drop": "CapDrop", "security_opt": "SecurityOpt",
	"read_only": "ReadonlyRootfs", "privileged": "Privileged", "network_mode": "NetworkMode", "pid_mode": "PidMode",
	"ipc_mode": "IpcMode", "uts_mode": "UTSMode", "userns_mode": "UsernsMode", "cgroupns_mode": "CgroupnsMode",
	"ports": "PortBindings", "tmpfs": "Tmpfs", "shm_size": "ShmSize", "ulimits": "Ulimits", "devices": "Devices",
	"gpus": "DeviceRequests", "device_rules": "DeviceCgroupRules", "groups": "GroupAdd", "init": "Init", "log": "LogConfig",
	"runtime": "Runtime", "sysctls": "Sysctls", "oom_kill_disable": "OomKillDisable", "oom_score": "OomScoreAdj",
	"masked_paths": "MaskedPaths", "readonly_paths": "ReadonlyPaths", "extra_hosts": "ExtraHosts", "dns": "Dns",
}

func parse(body []byte) (*Container, error) {
	var is inspected
	var raw struct {
		Config, HostConfig map[string]json.RawMessage
	}
	if err := json.Unmarshal(body, &is); err != nil {
		return nil, fmt.Errorf("read what Docker says of a container: %w", err)
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, fmt.Errorf("read what Docker says of container %s: %w", is.ID, err)
	}
	c := &Container{
		ID: is.ID, Name: strings.TrimPrefix(is.Name, "/"), Image: is.Image,
		Service: is.Config.Labels[labelService], OneOff: is.Config.Labels[labelOneOff] == "True", ConfigHash: is.Config.Labels[labelConfigHash],
		State: is.State.Status, OOMKilled: is.State.OOMKilled, ExitCode: is.State.ExitCode, Restarts: is.RestartCount,
		Properties: map[string]string{"image_id": is.Image, "config_hash": is.Config.Labels[labelConfigHash]},
	}
	if is.State.Health != nil {
		c.Health = is.State.Health.Status
	}
	for name, key := range configured {
		c.Properties[name] = text(raw.Config[key])
	}
	for name, key := range hostConfigured {
		c.Properties[name] = text(raw.HostConfig[key])
	}
	// The environment may hold what nobody should read in a report.
	if env := text(raw.Config["Env"]); env != "" {
		sum := sha256.Sum256([]byte(env))
		c.Properties["environment"] = "sha256:" + hex.EncodeToString(sum[:6])
	}
	var mounts []string
	for _, m := range is.Mounts {
		mode := "ro"
		if m.RW {
			mode = "rw"
		}
		mounts = append(mounts, fmt.Sprintf("%s:%s:%s", m.Source, m.Destination, mode))
	}
	slices.Sort(mounts)
	c.Properties["mounts"] = strings.Join(mounts, " ")
	c.Properties["networks"] = strings.Join(slices.Sorted(maps.Keys(is.NetworkSettings.Networks)), " ")
	return c, nil
}

// text is a value in one spelling: without spaces, and empty for everything that means nothing.
func text(raw json.RawMessage) string {
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return ""
	}
	switch s := compact.String(); s {
	case "null", "[]", "{}", `""`:
		return ""
	default:
		var plain string
		if json.Unmarshal(raw, &plain) == nil {
			return plain
		}
		return s
	}
}
