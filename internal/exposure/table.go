package exposure

import (
	"net/netip"
	"slices"
)

// rule is a row of the table: what is looked at, how much it weighs, and how bad a unit is by it.
type rule struct {
	name   string
	weight int
	most   int // the badness that counts with the whole weight
	// bad is from 0 to most, or notApplicable.
	bad   func(*settings) int
	means string
	// ordinary rules aren't for services of the early boot (DefaultDependencies=no).
	ordinary bool
}

const notApplicable = -1

var namespaces = []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}

var capabilities = []string{
	"CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_AUDIT_WRITE", "CAP_BLOCK_SUSPEND", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
	"CAP_KILL", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_MKNOD", "CAP_NET_ADMIN",
	"CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_RAW", "CAP_PERFMON", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
	"CAP_SETUID", "CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_NICE",
	"CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_WAKE_ALARM",
}

// table has the rules and the weights of systemd-analyze security (src/analyze/analyze-security.c of
// systemd 252 to 257). TestScoresAreThoseOfSystemd compares it with the real one.
var table = []rule{
	{name: "User=/DynamicUser=", weight: 2000, most: 10, bad: user, means: "runs as root"},
	{name: "SupplementaryGroups=", weight: 200, most: 1, bad: func(s *settings) int {
		if s.root() {
			return notApplicable
		}
		return when(len(s.groups) > 0)
	}, means: "is in further groups"},
	no("PrivateDevices=", 1000, "may see the machine's devices"),
	no("PrivateMounts=", 1000, "may mount for others to see"),
	no("PrivateNetwork=", 2500, "is in the host's network"),
	ordinary(no("PrivateTmp=", 1000, "shares the folders of temporary files, unless /tmp is a file system of its own")),
	no("PrivateUsers=", 1000, "sees other users' ids"),
	no("ProtectControlGroups=", 1000, "may change control groups"),
	no("ProtectKernelModules=", 1000, "may load kernel modules, or read them"),
	no("ProtectKernelTunables=", 1000, "may change the kernel's settings in /proc and /sys"),
	no("ProtectKernelLogs=", 1000, "may read the kernel's log"),
	no("ProtectClock=", 1000, "may set the clock"),
	ordinary(rule{name: "ProtectHome=", weight: 1000, most: 10, bad: home, means: "sees home folders"}),
	no("ProtectHostname=", 50, "may change the host's name"),
	ordinary(rule{name: "ProtectSystem=", weight: 1000, most: 10, bad: system, means: "may write to the operating system's folders"}),
	ordinary(rule{name: "RootDirectory=/RootImage=", weight: 200, most: 1, bad: func(s *settings) int {
		own := func(name string) bool { return s.single[name] != "" && s.single[name] != "/" }
		return when(!own("RootDirectory") && !own("RootImage"))
	}, means: "runs in the host's own root directory"}),
	no("LockPersonality=", 100, "may change how the kernel runs its programs"),
	no("MemoryDenyWriteExecute=", 100, "may make code while it runs"),
	no("NoNewPrivileges=", 1000, "may gain privileges by the programs that it starts"),

	capability("CAP_SYS_ADMIN", 1500, "may administer the system", "CAP_SYS_ADMIN"),
	capability("CAP_SET(UID|GID|PCAP)", 1500, "may become another user", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"),
	capability("CAP_SYS_PTRACE", 1500, "may read and change other processes", "CAP_SYS_PTRACE"),
	capability("CAP_SYS_TIME", 1000, "has the right to set the clock", "CAP_SYS_TIME"),
	capability("CAP_NET_ADMIN", 1000, "may configure the network", "CAP_NET_ADMIN"),
	capability("CAP_SYS_RAWIO", 1000, "may reach hardware past its drivers", "CAP_SYS_RAWIO"),
	capability("CAP_SYS_MODULE", 1000, "has the right to load kernel modules", "CAP_SYS_MODULE"),
	capability("CAP_AUDIT_*", 500, "may change what is audited", "CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_AUDIT_WRITE"),
	capability("CAP_SYSLOG", 500, "has the right to read the kernel's log", "CAP_SYSLOG"),
	capability("CAP_SYS_(NICE|RESOURCE)", 500, "may lift limits and priorities", "CAP_SYS_NICE", "CAP_SYS_RESOURCE"),
	capability("CAP_MKNOD", 500, "may make device nodes", "CAP_MKNOD"),
	capability("CAP_(CHOWN|FSETID|SETFCAP)", 1000, "may change owners and capabilities of files", "CAP_CHOWN", "CAP_FSETID", "CAP_SETFCAP"),
	capability("CAP_(DAC_*|FOWNER|IPC_OWNER)", 1000, "may pass over the permissions of files",
		"CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_IPC_OWNER"),
	capability("CAP_KILL", 500, "may send signals to any process", "CAP_KILL"),
	capability("CAP_NET_(BIND_SERVICE|BROADCAST|RAW)", 500, "may use low ports and raw packets", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_RAW"),
	capability("CAP_SYS_BOOT", 100, "may restart the machine", "CAP_SYS_BOOT"),
	capability("CAP_MAC_*", 100, "may change mandatory access control", "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE"),
	capability("CAP_LINUX_IMMUTABLE", 75, "may make files immutable", "CAP_LINUX_IMMUTABLE"),
	capability("CAP_IPC_LOCK", 50, "may lock memory without a limit", "CAP_IPC_LOCK"),
	capability("CAP_SYS_CHROOT", 50, "may change its root directory", "CAP_SYS_CHROOT"),
	capability("CAP_BLOCK_SUSPEND", 25, "may keep the machine awake", "CAP_BLOCK_SUSPEND"),
	capability("CAP_WAKE_ALARM", 25, "may wake the machine", "CAP_WAKE_ALARM"),
	capability("CAP_LEASE", 25, "may take leases on files", "CAP_LEASE"),
	capability("CAP_SYS_TTY_CONFIG", 25, "may hang up terminals", "CAP_SYS_TTY_CONFIG"),
	capability("CAP_SYS_PACCT", 25, "may change process accounting", "CAP_SYS_PACCT"),
	capability("CAP_BPF", 25, "may load BPF programs", "CAP_BPF"),

	{name: "UMask=", weight: 100, most: 10, bad: umask, means: "makes files that others may read, or the group may write"},
	{name: "KeyringMode=", weight: 1000, most: 1, bad: func(s *settings) int {
		mode := s.single["KeyringMode"]
		return when(mode != "" && mode != "private") // the default of a system's service
	}, means: "shares the kernel's keys with others"},
	{name: "ProtectProc=", weight: 1000, most: 3, bad: processes, means: "sees all processes"},
	{name: "ProcSubset=", weight: 10, most: 1, bad: func(s *settings) int { return when(s.single["ProcSubset"] != "pid") },
		means: "reads what the kernel says of the machine in /proc"},
	{name: "NotifyAccess=", weight: 1000, most: 1, bad: func(s *settings) int { return when(s.single["NotifyAccess"] == "all") },
		means: "lets any of its processes speak for it"},
	{name: "RemoveIPC=", weight: 100, most: 1, bad: func(s *settings) int {
		if s.root() {
			return notApplicable
		}
		return when(!s.yes("RemoveIPC"))
	}, means: "may leave shared memory behind"},
	{name: "Delegate=", weight: 100, most: 1, bad: func(s *settings) int {
		d := s.single["Delegate"]
		return when(d != "" && !isFalse(d))
	}, means: "has a subtree of control groups of its own"},
	no("RestrictRealtime=", 500, "may take the processor by real-time scheduling"),
	no("RestrictSUIDSGID=", 1000, "may make programs that run as another user"),

	namespace("user", 1500), namespace("mnt", 500), namespace("ipc", 500), namespace("pid", 500),
	namespace("cgroup", 500), namespace("net", 500), namespace("uts", 100),

	family("AF_(INET|INET6)", 1500, "may open Internet sockets", "AF_INET", "AF_INET6"),
	family("AF_UNIX", 25, "may open local sockets", "AF_UNIX"),
	family("AF_NETLINK", 200, "may speak to the kernel's network", "AF_NETLINK"),
	family("AF_PACKET", 1000, "may see raw packets", "AF_PACKET"),
	{name: "RestrictAddressFamilies=~…", weight: 1250, most: 1, bad: func(s *settings) int {
		return when(s.mayUse(func(f string) bool { return !slices.Contains(commonFamilies, f) }))
	}, means: "may open sockets of rare kinds, where the kernel is little tried"},

	{name: "SystemCallArchitectures=", weight: 1000, most: 10, bad: architectures, means: "may make system calls of other architectures"},
	calls("@swap", 1000, "switch swap on and off"), calls("@obsolete", 250, "make calls that nobody needs"),
	calls("@clock", 1000, "set the clock"), calls("@cpu-emulation", 250, "emulate other processors"),
	calls("@debug", 1000, "trace other processes"), calls("@mount", 1000, "mount"),
	calls("@module", 1000, "load kernel modules"), calls("@raw-io", 1000, "reach hardware past its drivers"),
	calls("@reboot", 1000, "restart the machine"), calls("@privileged", 700, "make calls that root needs"),
	calls("@resources", 700, "change priorities, limits and where memory is"),

	{name: "IPAddressDeny=", weight: 1000, most: 10, bad: ipAddresses, means: "may reach addresses"},
	{name: "DeviceAllow=", weight: 1000, most: 10, bad: devices, means: "may open devices beyond the harmless ones"},
	{name: "AmbientCapabilities=", weight: 500, most: 1, bad: func(s *settings) int { return when(len(s.ambient) > 0) },
		means: "starts with capabilities"},
}

var commonFamilies = []string{"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET"}

func when(bad bool) int {
	if bad {
		return 1
	}
	return 0
}

func ordinary(r rule) rule {
	r.ordinary = true
	return r
}

// no is a boolean directive that is bad when it isn't set.
func no(name string, weight int, means string) rule {
	return rule{name: name, weight: weight, most: 1, means: means, bad: func(s *settings) int { return when(!s.yes(name[:len(name)-1])) }}
}

func capability(name string, weight int, means string, any ...string) rule {
	return rule{name: "CapabilityBoundingSet=~" + name, weight: weight, most: 1, means: means,
		bad: func(s *settings) int { return when(s.bounding.has(any...)) }}
}

func namespace(name string, weight int) rule {
	return rule{name: "RestrictNamespaces=~" + name, weight: weight, most: 1, means: "may create namespaces: " + name,
		bad: func(s *settings) int { return when(s.namespaces[name]) }}
}

func family(name string, weight int, means string, any ...string) rule {
	return rule{name: "RestrictAddressFamilies=~" + name, weight: weight, most: 1, means: means, bad: func(s *settings) int {
		return when(s.mayUse(func(f string) bool { return slices.Contains(any, f) }))
	}}
}

func calls(group string, weight int, means string) rule {
	return rule{name: "SystemCallFilter=~" + group, weight: weight, most: 10, means: "may " + means, bad: func(s *settings) int {
		switch {
		case !s.onlyCalls && len(s.calls) == 0:
			return 10
		case !s.mayCall(group):
			return 0
		case s.onlyCalls:
			return 9
		}
		return 10
	}}
}

func user(s *settings) int {
	switch u := s.single["User"]; {
	case u == "nobody":
		return 9
	case s.root():
		return 10
	}
	return 0
}

func home(s *settings) int {
	switch v := s.single["ProtectHome"]; {
	case v == "read-only":
		return 5
	case v == "tmpfs":
		return 1
	case isTrue(v):
		return 0
	}
	return 10
}

func system(s *settings) int {
	switch v := s.single["ProtectSystem"]; {
	case v == "strict":
		return 0
	case v == "full":
		return 3
	case isTrue(v):
		return 5
	}
	return 10
}

func umask(s *settings) int {
	mask := s.umask()
	switch {
	case mask&0o002 == 0:
		return 10
	case mask&0o004 == 0:
		return 5
	case mask&0o020 == 0:
		return 2
	case mask&0o040 == 0:
		return 1
	}
	return 0
}

func processes(s *settings) int {
	switch s.single["ProtectProc"] {
	case "invisible", "ptraceable":
		return 0
	case "noaccess":
		return 1
	}
	return 3
}

func architectures(s *settings) int {
	switch {
	case len(s.architectures) == 0:
		return 10
	case s.architectures["native"]:
		return 0
	}
	return 8
}

func ipAddresses(s *settings) int {
	switch {
	case s.filters:
		return 0
	case !s.deniesAll():
		return 10
	case slices.ContainsFunc(s.allowed, func(p netip.Prefix) bool { return !p.Addr().IsLoopback() }):
		return 5
	case len(s.allowed) > 0:
		return 2
	}
	return 0
}

func devices(s *settings) int {
	switch p := s.single["DevicePolicy"]; {
	case p != "closed" && p != "strict":
		return 10
	case s.devices:
		return 5
	}
	return 0
}
