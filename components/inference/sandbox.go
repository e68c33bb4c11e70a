package inference

import (
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"time"

	"github.com/llmhost/llmhost/components/model"
	"github.com/llmhost/llmhost/components/sandbox"
	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/profile"
)

// Folders inside a server's root directory. An engine has an empty folder for models, and all
// that systemd wants in a root (bin, dev, etc, lib, lib64, proc, root, run, sbin, sys, tmp, usr,
// var): systemd would otherwise make it there, and the engine would no longer be as it was
// unpacked.
const (
	modelsInside   = "/models"
	zoneInfoInside = "/run/zoneinfo"
	programInside  = "/run/llmhost-agent"
)

// A server that fails at once, five times in five minutes, is left failed.
const (
	startBurst    = 5
	startInterval = 5 * time.Minute
)

// killAfter is how long a server may take to end once it was told to. Its requests had their time
// before.
const killAfter = 10 * time.Second

// Unit is the server's service, in the sandbox of the profile model-server. The error is about
// what the host file relaxes.
func (s *Server) Unit() (systemd.Unit, error) {
	command := s.Command()
	root := s.rootFilesystem()
	u := systemd.Unit{
		Unit: systemd.UnitSection{
			Description: systemd.Text(fmt.Sprintf("Model server %s (%s)", s.Server.Name, s.Model.Name)),
			// It isn't started, nor started again, with a model that isn't the pinned one.
			After:                 systemd.Words{model.CheckUnitName(&s.Server)},
			Requires:              systemd.Words{model.CheckUnitName(&s.Server)},
			StartLimitIntervalSec: systemd.Duration(startInterval),
			StartLimitBurst:       new(systemd.Count(startBurst)),
		},
		Service: systemd.ServiceSection{
			Type: "exec",
			// As the server's user, in its sandbox: what llama-server says of a model that it may not
			// read doesn't help anybody.
			ExecStartPre:     systemd.Commands{append(systemd.Command{programInside, "readable"}, s.modelsInside()...)},
			ExecStart:        slices.Concat(command.Program, command.Args),
			KillSignal:       "SIGTERM",
			SyslogIdentifier: systemd.Keyword("llmhost-" + s.Server.Name),

			User:                systemd.Keyword(s.Server.UserName()),
			Group:               systemd.Keyword(s.Server.UserName()),
			SupplementaryGroups: systemd.Words{ModelsGroup},

			Environment: s.environment(command),

			// Its root is the engine, its models are its own model.
			RootDirectory:       systemd.Path(root.directory),
			MountAPIVFS:         systemd.Yes,
			TemporaryFileSystem: append(root.inMemory, scratch(command)...),
			BindReadOnlyPaths: slices.Concat(root.binds, s.modelBinds(), s.fileBinds(command), systemd.Binds{
				{Source: model.Program, Target: programInside},
				{Source: "/usr/share/zoneinfo", Target: zoneInfoInside, Optional: true},
			}),
		},
		Install: systemd.InstallSection{WantedBy: systemd.Words{"multi-user.target"}},
	}
	if err := sandbox.Apply(&u, profile.ModelServer(), s.relaxations(command)); err != nil {
		return systemd.Unit{}, fmt.Errorf("%s: the sandbox of server %q: %w", s.Server.Range, s.Server.Name, err)
	}
	s.privateTmp(&u, command)
	s.limit(&u)
	s.stop(&u, command)
	s.openNetwork(&u, command)
	s.openGPU(&u)
	s.loadAPIKeys(&u)
	s.takeTurns(&u)
	if profile := s.Profile(); profile != nil {
		u.Service.AppArmorProfile = systemd.Profile(profile.Name)
	}
	return u, nil
}

// environment is the engine's, with the host's time zone.
func (s *Server) environment(command Command) systemd.Environment {
	environment := systemd.Environment{"TZ": s.Timezone, "TZDIR": zoneInfoInside}
	maps.Copy(environment, command.Environment)
	return environment
}

// relaxations are where the server's sandbox is opened: for its clients, its engine, its GPU, and
// at last for what its host file says.
func (s *Server) relaxations(command Command) []profile.Relaxation {
	var all []profile.Relaxation
	relax := func(directive, reason string, values ...string) {
		all = slices.DeleteFunc(all, func(r profile.Relaxation) bool { return r.Directive == directive })
		all = append(all, profile.Relaxation{Directive: directive, Values: values, Reason: reason})
	}
	if s.Server.Listen.Unix {
		relax("UMask", "the server's group may open its socket", "0007")
	} else {
		reason := "it listens on " + s.Server.Listen.String()
		relax("PrivateNetwork", reason, "no")
		relax("RestrictAddressFamilies", reason, family(s.Server.Listen.Addr.Addr().Is6()))
		relax("IPAddressAllow", reason, "localhost")
	}
	if command.InnerPorts != NoPorts {
		reason := fmt.Sprintf("the processes of %s talk to each other by ports", s.Engine.Kind)
		relax("RestrictAddressFamilies", reason, "AF_UNIX AF_INET AF_INET6 AF_NETLINK")
		relax("IPAddressAllow", reason, "localhost")
	}
	if command.CompilesAtRunTime {
		relax("MemoryDenyWriteExecute", s.Engine.Kind+" compiles code while it runs", "no")
	}
	if s.GPU != nil {
		relax("PrivateDevices", "it would hide the GPU, where DevicePolicy= still closes all other devices", "no")
		var devices []string
		for _, d := range s.GPU.Devices {
			devices = append(devices, d.Device+" "+d.Access)
		}
		relax("DeviceAllow", "the GPU's devices", devices...)
		relax("ProcSubset", "drivers are asked for their parameters in /proc/driver", "all")
		relax("SystemCallFilter", "drivers place memory near the device with calls that are in @resources", "@system-service", "~@privileged")
	}
	for _, r := range s.Server.Relaxed {
		relax(r.Directive, r.Reason, r.Values...)
	}
	return all
}

func family(is6 bool) string {
	if is6 {
		return "AF_INET6"
	}
	return "AF_INET"
}

// limit sets what the host file says of each server.
func (s *Server) limit(u *systemd.Unit) {
	service := &u.Service
	service.MemoryMax = new(systemd.Bytes(s.Server.Memory))
	service.CPUQuota = systemd.Percent(math.Ceil(s.Server.CPUs * 100))
	if l := s.Server.Limits; l != nil {
		set := func(field **systemd.Count, n int) {
			if n > 0 {
				*field = new(systemd.Count(n))
			}
		}
		set(&service.LimitNOFILE, l.NOFILE)
		set(&service.LimitNPROC, l.NPROC)
		set(&service.TasksMax, l.Tasks)
		if l.AddressSpace > 0 {
			service.LimitAS = new(systemd.Bytes(l.AddressSpace))
		}
		if l.Core > 0 {
			service.LimitCORE = new(systemd.Bytes(l.Core))
		}
	}
	if r := s.Server.Restart; r != nil {
		if r.Delay > 0 {
			service.RestartSec = systemd.Duration(r.Delay)
		}
		if r.Burst > 0 {
			u.Unit.StartLimitBurst = new(systemd.Count(r.Burst))
		}
		if r.Interval > 0 {
			u.Unit.StartLimitIntervalSec = systemd.Duration(r.Interval)
		}
	}
}

// stop lets requests end that run. On SIGTERM alone llama-server neither ends them nor itself, and
// is killed with them when its time is over.
func (s *Server) stop(u *systemd.Unit, command Command) {
	limit := s.Server.StopTimeout
	u.Service.TimeoutStopSec = systemd.Duration(limit)
	if !command.ShowsSlots {
		return
	}
	drain := systemd.Command{programInside, "drain", s.Address(), limit.String()}
	if s.Server.APIKey != "" {
		drain = append(drain, s.keyFileInside())
	}
	u.Service.ExecStop = systemd.Commands{drain}
	// It holds for draining and for ending, each by itself.
	u.Service.TimeoutStopSec = systemd.Duration(limit + killAfter)
}

// privateTmpSince is the version of systemd that can give a service empty folders of temporary
// files in memory (PrivateTmp=disconnected), and counts them as private.
const privateTmpSince = 257

// privateTmp has systemd make the folders of temporary files, in which no program may be. Not for an
// engine that compiles, which runs programs there.
func (s *Server) privateTmp(u *systemd.Unit, command Command) {
	ofEngine := func(f Scratch) bool { return f.Path == "/tmp" }
	if s.Systemd < privateTmpSince || slices.ContainsFunc(command.Scratch, ofEngine) || u.Service.PrivateTmp != "" {
		return
	}
	u.Service.PrivateTmp = "disconnected"
	u.Service.NoExecPaths = systemd.Words{"+/tmp", "+/var/tmp"} // in the root directory of the unit
	for i, fs := range u.Service.TemporaryFileSystem {
		if fs.Path == "/tmp" {
			// /var/tmp needs a place, which isn't made in the engine's folder.
			u.Service.TemporaryFileSystem[i] = systemd.TemporaryFileSystem{Path: "/var", Options: []string{"ro"}}
		}
	}
}

// openNetwork lets clients in, and the server not out.
func (s *Server) openNetwork(u *systemd.Unit, command Command) {
	service := &u.Service
	if s.Server.Listen.Unix {
		// Clients are let in by the server's group, which may pass the folder and open the
		// socket.
		service.RuntimeDirectory = systemd.Words{path.Join("llmhost", s.Server.Name)}
		service.RuntimeDirectoryMode = "0710"
		return
	}
	if command.InnerPorts == AllPorts {
		return
	}
	bind := "ipv4"
	if s.Server.Listen.Addr.Addr().Is6() {
		bind = "ipv6"
	}
	// Its own port and no other, so that it can't stand in for another server.
	service.SocketBindDeny = systemd.Words{"any"}
	service.SocketBindAllow = systemd.Lines{{fmt.Sprintf("%s:tcp:%d", bind, s.Server.Listen.Addr.Port())}}
	if command.InnerPorts != NoPorts {
		service.SocketBindAllow = append(service.SocketBindAllow, []string{"ipv4:tcp:" + string(command.InnerPorts)})
	}
}

// openGPU gives the server what its GPU needs beside an opened sandbox.
func (s *Server) openGPU(u *systemd.Unit) {
	if s.GPU == nil {
		return
	}
	u.Unit.After = append(u.Unit.After, s.GPU.After...)
	u.Unit.Wants = s.GPU.After
	service := &u.Service
	service.SupplementaryGroups = append(service.SupplementaryGroups, s.GPU.Groups...)
	if len(s.GPU.Libraries) > 0 {
		service.BindReadOnlyPaths = append(service.BindReadOnlyPaths, s.GPU.Libraries...)
		service.Environment["LD_LIBRARY_PATH"] = driverInside
	}
}
