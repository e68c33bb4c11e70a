package inference

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/llmhost/llmhost/components/model"
	"github.com/llmhost/llmhost/components/systemd"
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

// Unit is the server's service.
//
// The server is a stranger's C++ that parses models and prompts which strangers wrote, so the
// unit assumes that it is taken over: what it may then reach is its model, its clients, and
// its GPU if it has one. The gaps are those that the server was seen to need.
func (s *Server) Unit() systemd.Unit {
	command := s.Command()
	root := s.rootFilesystem()
	u := systemd.Unit{
		Unit: systemd.UnitSection{
			Description: systemd.Text(fmt.Sprintf("Model server %s (%s)", s.Server.Name, s.Model.Name)),
			// It isn't started, nor started again, with a model that isn't the pinned one.
			After:    systemd.Words{model.CheckUnitName(&s.Server)},
			Requires: systemd.Words{model.CheckUnitName(&s.Server)},
			// A server that fails at once, five times in five minutes, is left failed.
			StartLimitIntervalSec: systemd.Duration(5 * time.Minute),
			StartLimitBurst:       new(systemd.Count(5)),
		},
		Service: systemd.ServiceSection{
			Type: "exec",
			// As the server's user, in its sandbox: what llama-server says of a model that it may not
			// read doesn't help anybody.
			ExecStartPre:     systemd.Commands{append(systemd.Command{programInside, "readable"}, s.modelsInside()...)},
			ExecStart:        slices.Concat(command.Program, command.Args),
			Restart:          "on-failure",
			RestartSec:       systemd.Duration(2 * time.Second),
			TimeoutStopSec:   systemd.Duration(30 * time.Second),
			KillSignal:       "SIGTERM",
			OOMPolicy:        "kill",
			SyslogIdentifier: systemd.Keyword("llmhost-" + s.Server.Name),

			User:                systemd.Keyword(s.Server.UserName()),
			Group:               systemd.Keyword(s.Server.UserName()),
			SupplementaryGroups: systemd.Words{ModelsGroup},
			UMask:               "0077",
			PrivateUsers:        systemd.Yes,

			Environment: s.environment(command),

			// Its root is the engine, its models are its own model.
			RootDirectory:       systemd.Path(root.directory),
			MountAPIVFS:         systemd.Yes,
			TemporaryFileSystem: append(root.inMemory, scratch(command)...),
			BindReadOnlyPaths: slices.Concat(root.binds, s.modelBinds(), s.fileBinds(command), systemd.Binds{
				{Source: model.Program, Target: programInside},
				{Source: "/usr/share/zoneinfo", Target: zoneInfoInside, Optional: true},
			}),
			ProtectSystem: "strict",
			ProtectHome:   "yes",
			PrivateMounts: systemd.Yes,
			PrivateIPC:    systemd.Yes,

			DevicePolicy:   "closed",
			PrivateDevices: systemd.Yes,

			IPAddressDeny: systemd.Words{"any"},

			ProtectProc: "invisible",
			ProcSubset:  "pid",

			ProtectKernelTunables: systemd.Yes,
			ProtectKernelModules:  systemd.Yes,
			ProtectKernelLogs:     systemd.Yes,
			ProtectControlGroups:  systemd.Yes,
			ProtectClock:          systemd.Yes,
			ProtectHostname:       systemd.Yes,

			NoNewPrivileges:         systemd.Yes,
			CapabilityBoundingSet:   systemd.Words{},
			AmbientCapabilities:     systemd.Words{},
			KeyringMode:             "private",
			LockPersonality:         systemd.Yes,
			MemoryDenyWriteExecute:  systemd.Yes,
			RemoveIPC:               systemd.Yes,
			RestrictNamespaces:      systemd.Yes,
			RestrictRealtime:        systemd.Yes,
			RestrictSUIDSGID:        systemd.Yes,
			SystemCallArchitectures: systemd.Words{"native"},
			SystemCallFilter:        systemd.Lines{{"@system-service"}, {"~@privileged", "@resources"}},
			// A refused call is an error to the server, not its end: libraries probe for calls
			// that they can do without.
			SystemCallErrorNumber: "EPERM",

			MemoryMax: new(systemd.Bytes(s.Server.Memory)),
			// Prompts and answers are never written to a disk, by swap or by a core dump.
			MemorySwapMax: new(systemd.Bytes(0)),
			LimitCORE:     new(systemd.Bytes(0)),
			TasksMax:      new(systemd.Count(1024)),
			LimitNOFILE:   new(systemd.Count(4096)),
		},
		Install: systemd.InstallSection{WantedBy: systemd.Words{"multi-user.target"}},
	}
	if command.CompilesAtRunTime {
		u.Service.MemoryDenyWriteExecute = systemd.Unset
	}
	s.openNetwork(&u, command)
	s.openGPU(&u)
	s.loadAPIKeys(&u)
	return u
}

// environment is the engine's, with the host's time zone.
func (s *Server) environment(command Command) systemd.Environment {
	environment := systemd.Environment{"TZ": s.Timezone, "TZDIR": zoneInfoInside}
	maps.Copy(environment, command.Environment)
	return environment
}

// openNetwork lets clients in, and the server not out.
func (s *Server) openNetwork(u *systemd.Unit, command Command) {
	service := &u.Service
	if s.Server.Listen.Unix {
		// Clients are let in by the server's group, which may pass the folder and open the
		// socket.
		service.RuntimeDirectory = systemd.Words{path.Join("llmhost", s.Server.Name)}
		service.RuntimeDirectoryMode = "0710"
		service.UMask = "0007"
		service.PrivateNetwork = systemd.Yes
		service.RestrictAddressFamilies = systemd.Words{"AF_UNIX"}
		if command.InnerPorts != NoPorts {
			// In a network namespace of its own, which holds the loopback interface and nothing else.
			service.RestrictAddressFamilies = systemd.Words{"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"}
			service.IPAddressAllow = systemd.Words{"localhost"}
		}
		return
	}
	family, bind := "AF_INET", "ipv4"
	if s.Server.Listen.Addr.Addr().Is6() {
		family, bind = "AF_INET6", "ipv6"
	}
	service.RestrictAddressFamilies = systemd.Words{family}
	// Its own port and no other, so that it can't stand in for another server.
	service.SocketBindDeny = systemd.Words{"any"}
	service.SocketBindAllow = systemd.Lines{{fmt.Sprintf("%s:tcp:%d", bind, s.Server.Listen.Addr.Port())}}
	service.IPAddressAllow = systemd.Words{"localhost"}
	switch command.InnerPorts {
	case NoPorts:
		return
	case AllPorts:
		service.SocketBindDeny, service.SocketBindAllow = nil, nil
	default:
		service.SocketBindAllow = append(service.SocketBindAllow, []string{"ipv4:tcp:" + string(command.InnerPorts)})
	}
	service.RestrictAddressFamilies = systemd.Words{"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"}
}

// openGPU gives the server its GPU. Each directive that it relaxes would hide the device or
// something that the driver's libraries need.
func (s *Server) openGPU(u *systemd.Unit) {
	if s.GPU == nil {
		return
	}
	u.Unit.After = append(u.Unit.After, s.GPU.After...)
	u.Unit.Wants = s.GPU.After
	service := &u.Service
	service.SupplementaryGroups = append(service.SupplementaryGroups, s.GPU.Groups...)
	// PrivateDevices= would hide the devices; DevicePolicy= still closes all others.
	service.PrivateDevices = systemd.Unset
	service.DeviceAllow = s.GPU.Devices
	// Drivers are asked for their parameters in /proc/driver.
	service.ProcSubset = "all"
	// Drivers place memory near the device with calls that are in @resources.
	service.SystemCallFilter = systemd.Lines{{"@system-service"}, {"~@privileged"}}
	if len(s.GPU.Libraries) > 0 {
		service.BindReadOnlyPaths = append(service.BindReadOnlyPaths, s.GPU.Libraries...)
		service.Environment["LD_LIBRARY_PATH"] = driverInside
	}
}
