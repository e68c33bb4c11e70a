package compose

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/components/model"
	"github.com/llmhost/llmhost/internal/hostfile"
)

const (
	// programInside is the agent's program in a container, which starts the server and asks it: an
	// image need hold neither a shell nor curl.
	programInside = "/run/llmhost-agent"
	// zoneInfoInside holds the host's time zones, which most images lack.
	zoneInfoInside = "/run/zoneinfo"

	maxProcesses = 1024
	maxFiles     = 65536
	smallTmpfs   = 64 << 20
)

// socketFolder is the only thing that a container shares with its clients.
func socketFolder(s *inference.Server) string { return path.Dir(s.Server.Socket()) }

// service is a server's container.
//
// As with a unit, it assumes that the server is taken over: what it may then reach is its model,
// its clients, and its GPU if it has one. Docker's own seccomp and AppArmor profiles stay.
func (p *Project) service(s *inference.Server) types.ServiceConfig {
	name := s.Server.Name
	command := s.InContainer().Command()
	c := types.ServiceConfig{Name: name, Restart: "on-failure:5"}
	c.Image = s.Engine.Image
	c.PullPolicy = types.PullPolicyNever
	c.Entrypoint = append(p.starter(s), command.Program...)
	c.Command = command.Args
	c.Environment = environment(s, command)

	// Identity.
	c.User = s.Server.User
	if c.User == "" {
		c.User = p.variable(variableOf(name, "UID"), "user:"+s.Server.UserName()) + ":" +
			p.variable(variableOf(name, "GID"), "group:"+s.Server.UserName())
	}
	c.GroupAdd = []string{p.variable("MODELS_GID", "group:"+inference.ModelsGroup)}
	c.CapDrop = []string{"ALL"}
	c.SecurityOpt = []string{"no-new-privileges:true"}
	c.Privileged = false

	// What it sees.
	c.NetworkMode = "none"
	c.Ipc, c.Cgroup = "private", "private"
	c.ReadOnly = true
	c.Tmpfs = tmpfs(command.Scratch)
	c.ShmSize = smallTmpfs
	for _, scratch := range command.Scratch {
		if scratch.Path == "/dev/shm" {
			c.ShmSize = types.UnitBytes(scratch.Size)
		}
	}
	for _, m := range s.ModelBinds() {
		c.Volumes = append(c.Volumes, bind(m.Source, m.Target, true))
	}
	c.Volumes = append(c.Volumes, bind(model.Program, programInside, true), bind(socketFolder(s), socketFolder(s), false))
	if key, ok := s.KeyBind(); ok {
		c.Volumes = append(c.Volumes, bind(key.Source, key.Target, true))
	}
	if s.Timezone != "UTC" {
		c.Volumes = append(c.Volumes, bind("/usr/share/zoneinfo", zoneInfoInside, true))
	}

	// What it may use.
	c.MemLimit = types.UnitBytes(s.Server.Memory)
	c.MemSwapLimit = c.MemLimit // no swap: prompts and answers are never written to a disk
	c.PidsLimit = maxProcesses
	c.CPUS = float32(s.Server.CPUs)
	c.Ulimits = map[string]*types.UlimitsConfig{"core": {Single: 0, Soft: 0, Hard: 0}, "nofile": {Soft: maxFiles, Hard: maxFiles}}
	p.openGPU(s, &c)

	// Its life.
	yes := true
	c.Init = &yes
	c.StopSignal = "SIGTERM"
	c.StopGracePeriod = duration(30 * time.Second)
	c.HealthCheck = &types.HealthCheckConfig{
		Test:        healthCheck(s),
		Interval:    duration(30 * time.Second),
		Timeout:     duration(25 * time.Second),
		Retries:     count(3),
		StartPeriod: duration(s.Server.ReadyTimeout),
	}
	c.Logging = &types.LoggingConfig{Driver: "local", Options: types.Options{"max-size": "10m", "max-file": "3"}}
	c.Labels = labels(p.host, s)
	return c
}

// starter is what becomes the server: it removes the socket of the last start, lets the group open
// the new one, and says which model can't be read.
func (p *Project) starter(s *inference.Server) types.ShellCommand {
	starter := types.ShellCommand{programInside, "start", "--socket", s.Server.Socket()}
	for _, m := range s.ModelBinds() {
		starter = append(starter, "--readable", m.Target)
	}
	return append(starter, "--")
}

func environment(s *inference.Server, command inference.Command) types.MappingWithEquals {
	all := map[string]string{"TZ": s.Timezone}
	if s.Timezone != "UTC" {
		all["TZDIR"] = zoneInfoInside
	}
	maps.Copy(all, command.Environment)
	return types.NewMappingWithEquals(func() (list []string) {
		for _, key := range slices.Sorted(maps.Keys(all)) {
			list = append(list, key+"="+all[key])
		}
		return list
	}())
}

// healthCheck asks the server from within its container, with a key that only the server can read.
func healthCheck(s *inference.Server) types.HealthCheckTest {
	test := types.HealthCheckTest{"CMD", programInside, "answers"}
	if key, ok := s.KeyBind(); ok {
		test = append(test, "--key-file", key.Target)
	}
	return append(test, "unix:"+s.Server.Socket(), s.Model.Name)
}

// tmpfs are the folders in memory: the engine's, and /tmp in any case.
func tmpfs(scratch []inference.Scratch) types.StringList {
	var list types.StringList
	seen := false
	for _, s := range scratch {
		if s.Path == "/dev/shm" {
			continue
		}
		seen = seen || s.Path == "/tmp"
		exec := "noexec"
		if s.Exec {
			exec = "exec"
		}
		list = append(list, fmt.Sprintf("%s:size=%d,mode=1777,nodev,nosuid,%s", s.Path, s.Size, exec))
	}
	if !seen {
		list = append(list, fmt.Sprintf("/tmp:size=%d,mode=1777,nodev,nosuid,noexec", smallTmpfs))
	}
	return list
}

func bind(source, target string, readOnly bool) types.ServiceVolumeConfig {
	return types.ServiceVolumeConfig{
		Type: types.VolumeTypeBind, Source: source, Target: target, ReadOnly: readOnly,
		// A source that isn't there is an error, and not a folder that Docker makes.
		Bind: &types.ServiceVolumeBind{CreateHostPath: false},
	}
}

// openGPU gives the container its GPUs and no other device.
func (p *Project) openGPU(s *inference.Server, c *types.ServiceConfig) {
	gpus := p.host.GPUsOf(&s.Server)
	if len(gpus) == 0 {
		return
	}
	if gpus[0].Vendor == "nvidia" {
		var ids []string
		for _, g := range gpus {
			ids = append(ids, strconv.Itoa(g.Index))
		}
		c.Deploy = &types.DeployConfig{Resources: types.Resources{Reservations: &types.Resource{Devices: []types.DeviceRequest{{
			Driver: "nvidia", IDs: ids, Capabilities: []string{"gpu"},
		}}}}}
		return
	}
	c.GroupAdd = append(c.GroupAdd, p.variable("RENDER_GID", "group:render"))
	const firstRenderNode = 128 // Linux numbers the cards from 0 and their render nodes from here
	if gpus[0].Vendor == "amd" {
		c.Devices = append(c.Devices, types.DeviceMapping{Source: "/dev/kfd", Target: "/dev/kfd", Permissions: "rw"})
	}
	for _, g := range gpus {
		node := fmt.Sprintf("/dev/dri/renderD%d", firstRenderNode+g.Index)
		c.Devices = append(c.Devices, types.DeviceMapping{Source: node, Target: node, Permissions: "rw"})
	}
}

// labels say who owns the container, and name what it has loaded: with another model at the same
// path Compose makes it anew.
func labels(host *hostfile.Host, s *inference.Server) types.Labels {
	l := types.Labels{"org.llmhost.host": host.Name, "org.llmhost.server": s.Server.Name}
	for what, digest := range s.RestartOn() {
		if digest != "" {
			l["org.llmhost.digest."+strings.ReplaceAll(what, " ", ".")] = digest
		}
	}
	return l
}

// variableOf is a name for a number of a server's.
func variableOf(server, what string) string {
	return strings.ToUpper(strings.ReplaceAll(server, "-", "_")) + "_" + what
}

func duration(d time.Duration) *types.Duration { return new(types.Duration(d)) }

func count(n uint64) *uint64 { return &n }
