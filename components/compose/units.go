package compose

import (
	"time"

	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/components/model"
	"github.com/llmhost/llmhost/components/systemd"
)

// BootUnitName is the unit that starts a project's containers at boot. Docker's own restart policy
// starts again what fails, a few times, and not what was running when the host went down.
func (p *Project) BootUnitName() string { return "llmhost-compose-" + p.Name + ".service" }

// BootUnit starts the containers whenever Docker has started, once their models have been checked.
// It makes none anew: what they are is decided by a deployment.
func (p *Project) BootUnit() systemd.Unit {
	u := systemd.Unit{
		Unit: systemd.UnitSection{
			Description: systemd.Text("Containers of the compose project " + p.Name),
			After:       systemd.Words{"docker.service", "systemd-tmpfiles-setup.service"},
			BindsTo:     systemd.Words{"docker.service"},
		},
		Service: systemd.ServiceSection{
			Type:            "oneshot",
			RemainAfterExit: systemd.Yes,
			ExecStart: systemd.Command{
				"/usr/bin/docker", "compose", "--project-name", p.Name, "--project-directory", p.Folder(),
				"--file", p.File(), "--env-file", p.EnvFile(), "up", "--detach", "--no-build", "--no-recreate", "--pull", "never",
			},
			TimeoutStartSec:  systemd.Duration(10 * time.Minute),
			SyslogIdentifier: systemd.Keyword("llmhost-compose-" + p.Name),

			// It is docker's client: it needs Docker's socket, its own files, and nothing else.
			Environment:             systemd.Environment{"DOCKER_CONFIG": "/run/no-docker-configuration", "DOCKER_HOST": "unix:///run/docker.sock"},
			CapabilityBoundingSet:   systemd.Words{},
			NoNewPrivileges:         systemd.Yes,
			PrivateNetwork:          systemd.Yes,
			PrivateDevices:          systemd.Yes,
			PrivateTmp:              "yes",
			ProtectSystem:           "strict",
			ProtectHome:             "yes",
			ProtectKernelTunables:   systemd.Yes,
			ProtectKernelModules:    systemd.Yes,
			ProtectControlGroups:    systemd.Yes,
			RestrictAddressFamilies: systemd.Words{"AF_UNIX"},
			RestrictNamespaces:      systemd.Yes,
			LockPersonality:         systemd.Yes,
			SystemCallArchitectures: systemd.Words{"native"},
			SystemCallFilter:        systemd.Lines{{"@system-service"}},
		},
		Install: systemd.InstallSection{WantedBy: systemd.Words{"docker.service"}},
	}
	for _, s := range p.servers {
		u.Unit.After = append(u.Unit.After, model.CheckUnitName(&s.Server))
		u.Unit.Requires = append(u.Unit.Requires, model.CheckUnitName(&s.Server))
	}
	return u
}

// proxy is systemd's own forwarder (systemd-socket-proxyd(8)).
const proxy = "/usr/lib/systemd/systemd-socket-proxyd"

// PortNames are the socket and the service that lead a port of the host to a server's socket. No
// server's name can hold their "@".
func PortNames(s *inference.Server) (socket, service string) {
	return "llmhost-port@" + s.Server.Name + ".socket", "llmhost-port@" + s.Server.Name + ".service"
}

// PortUnits listen on the server's port and pass what comes on to its socket. The service has no
// network of its own either: the port is handed to it open.
func PortUnits(s *inference.Server) (socket, service systemd.Unit) {
	socketName, serviceName := PortNames(s)
	socket = systemd.Unit{
		Kind: systemd.KindSocket,
		Unit: systemd.UnitSection{Description: systemd.Text("Port of the model server " + s.Server.Name)},
		Socket: systemd.SocketSection{
			ListenStream: systemd.Listeners{s.Server.Listen.Addr.String()},
			Service:      systemd.Keyword(serviceName),
		},
		Install: systemd.InstallSection{WantedBy: systemd.Words{"sockets.target"}},
	}
	service = systemd.Unit{
		Unit: systemd.UnitSection{
			Description: systemd.Text("Way from the port to the model server " + s.Server.Name),
			Requires:    systemd.Words{socketName},
			After:       systemd.Words{socketName},
		},
		Service: systemd.ServiceSection{
			Type:      "notify",
			ExecStart: systemd.Command{proxy, s.Server.Socket()},
			// The group opens the socket. The user is another, made for the purpose and gone with it.
			DynamicUser:             systemd.Yes,
			Group:                   systemd.Keyword(s.Server.UserName()),
			SyslogIdentifier:        systemd.Keyword("llmhost-port-" + s.Server.Name),
			PrivateNetwork:          systemd.Yes,
			PrivateDevices:          systemd.Yes,
			PrivateUsers:            systemd.Yes,
			ProtectSystem:           "strict",
			ProtectHome:             "yes",
			ProtectProc:             "invisible",
			ProcSubset:              "pid",
			ProtectClock:            systemd.Yes,
			ProtectHostname:         systemd.Yes,
			ProtectKernelLogs:       systemd.Yes,
			ProtectKernelTunables:   systemd.Yes,
			ProtectKernelModules:    systemd.Yes,
			ProtectControlGroups:    systemd.Yes,
			CapabilityBoundingSet:   systemd.Words{},
			RestrictAddressFamilies: systemd.Words{"AF_UNIX"},
			RestrictNamespaces:      systemd.Yes,
			RestrictRealtime:        systemd.Yes,
			LockPersonality:         systemd.Yes,
			MemoryDenyWriteExecute:  systemd.Yes,
			SystemCallArchitectures: systemd.Words{"native"},
			SystemCallFilter:        systemd.Lines{{"@system-service"}, {"~@privileged", "@resources"}},
			UMask:                   "0077",
			MemoryMax:               new(systemd.Bytes(64 << 20)),
			TasksMax:                new(systemd.Count(16)),
		},
	}
	return socket, service
}
