package confinement

import (
	"github.com/llmhost/llmhost/components/systemd"
)

// FirewallUnitName loads the packet filter at a boot, before there is a network.
const FirewallUnitName = "llmhost-firewall.service"

// FirewallUnit loads the packet filter. The distribution's own unit flushes everybody's rules when
// it starts, is reloaded or stops, so that this one goes after it and follows it.
func FirewallUnit() systemd.Unit {
	const distribution = "nftables.service"
	load := systemd.Command{"/usr/sbin/nft", "--file", FirewallPath}
	return systemd.Unit{
		Unit: systemd.UnitSection{
			Description:          "Packet filter of llmhost (table inet llmhost)",
			Before:               systemd.Words{"network-pre.target", "shutdown.target"},
			After:                systemd.Words{distribution, "local-fs.target"},
			Wants:                systemd.Words{"network-pre.target"},
			Conflicts:            systemd.Words{"shutdown.target"},
			PartOf:               systemd.Words{distribution},
			ReloadPropagatedFrom: systemd.Words{distribution},
			DefaultDependencies:  systemd.No,
		},
		Service: systemd.ServiceSection{
			Type:            "oneshot",
			RemainAfterExit: systemd.Yes,
			ExecStart:       load,
			ExecReload:      systemd.Commands{load},

			ProtectSystem:  "strict",
			ProtectHome:    "yes",
			PrivateDevices: systemd.Yes,
			ProtectClock:   systemd.Yes,

			ProtectKernelTunables:   systemd.Yes,
			ProtectKernelLogs:       systemd.Yes,
			ProtectControlGroups:    systemd.Yes,
			ProtectHostname:         systemd.Yes,
			NoNewPrivileges:         systemd.Yes,
			CapabilityBoundingSet:   systemd.Words{"CAP_NET_ADMIN"},
			LockPersonality:         systemd.Yes,
			MemoryDenyWriteExecute:  systemd.Yes,
			RestrictNamespaces:      systemd.Yes,
			RestrictRealtime:        systemd.Yes,
			RestrictSUIDSGID:        systemd.Yes,
			RestrictAddressFamilies: systemd.Words{"AF_NETLINK"},
			SystemCallArchitectures: systemd.Words{"native"},
			SystemCallFilter:        systemd.Lines{{"@system-service"}, {"~@privileged", "@resources"}},
			SystemCallErrorNumber:   "EPERM",
		},
		Install: systemd.InstallSection{WantedBy: systemd.Words{"sysinit.target"}},
	}
}
