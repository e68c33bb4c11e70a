package profile

// base is what no service of llmhost's needs, whatever it is for.
var base = []Directive{
	{Name: "ProtectSystem", Values: values("strict"), Words: []string{"strict", "full", "yes", "no"},
		Why: "Nothing of the file system can be written but what the unit names."},
	{Name: "ProtectHome", Values: values("yes"), Words: []string{"yes", "tmpfs", "read-only", "no"},
		Why: "Home folders hold keys, and nothing that a service needs."},
	on("PrivateMounts", "What it mounts is seen by nobody else."),
	on("PrivateIPC", "Shared memory and message queues of other services can't be reached. Left out where processes have to share them."),
	on("PrivateDevices", "It sees no disk, no terminal, no memory device: only the likes of /dev/null."),
	{Name: "DevicePolicy", Values: values("closed"), Words: []string{"closed", "strict", "auto"},
		Why: "The kernel refuses every device that isn't listed, also one that was made later."},
	{Name: "DeviceAllow", Values: []string{}, Why: "No device beyond the harmless ones."},
	on("PrivateNetwork", "A network namespace of its own: there is nobody to talk to, and no port of the host to reach."),
	{Name: "RestrictAddressFamilies", Values: values("AF_UNIX"),
		Why: "Sockets of other families can't be made, so that rarely used code of the kernel isn't reached."},
	{Name: "IPAddressDeny", Values: values("any"), Why: "No packet leaves or arrives, even if a socket was inherited."},
	{Name: "IPAddressAllow", Values: []string{}, Why: "No exception."},
	{Name: "ProtectProc", Values: values("invisible"), Words: []string{"invisible", "ptraceable", "noaccess", "default"},
		Why: "Processes of other users, with their arguments, aren't seen."},
	{Name: "ProcSubset", Values: values("pid"), Words: []string{"pid", "all"},
		Why: "What /proc says of the machine beside processes isn't seen."},
	on("ProtectKernelTunables", "Settings in /proc/sys and /sys are read-only."),
	on("ProtectKernelModules", "No kernel module can be loaded."),
	on("ProtectKernelLogs", "The kernel's log, which holds addresses, can't be read."),
	on("ProtectControlGroups", "It can't lift its own limits."),
	on("ProtectClock", "It can't set the clock, on which certificates and logs depend."),
	on("ProtectHostname", "It can't change the host's name."),
	on("NoNewPrivileges", "No program that it starts has more rights than it: set-user-ID and file capabilities have no effect."),
	{Name: "CapabilityBoundingSet", Values: values(""), Why: "No capability, also if it became root in some way."},
	{Name: "AmbientCapabilities", Values: values(""), Why: "None to begin with."},
	{Name: "KeyringMode", Values: values("private"), Words: []string{"private", "inherit", "shared"},
		Why: "A keyring of the kernel that is shared with nobody."},
	on("LockPersonality", "The execution domain, which switches protections such as address randomization off, is fixed."),
	on("MemoryDenyWriteExecute", "Memory that was written can't become code: the usual second step of an exploit."),
	on("RemoveIPC", "What it leaves in shared memory goes with it."),
	on("RestrictNamespaces", "No namespaces: a user namespace is the way to most of the kernel's holes."),
	on("RestrictRealtime", "It can't take the processor from the whole machine."),
	on("RestrictSUIDSGID", "It can't leave a program that runs as somebody else."),
	{Name: "SystemCallArchitectures", Values: values("native"), Why: "Calls of the 32-bit interface, where filters were passed by, are refused."},
	{Name: "SystemCallFilter", Values: values("@system-service", "~@privileged @resources"),
		Why: "The calls of an ordinary service without those that need root or move priorities and limits."},
	{Name: "SystemCallErrorNumber", Values: values("EPERM"),
		Why: "A refused call is an error to the service and not its end: libraries probe for calls that they can do without."},
	{Name: "MemorySwapMax", Values: values("0"), Why: "What it has in memory is never written to a disk."},
}

// What a host file decides for each server.
var (
	memoryMax   = Directive{Name: "MemoryMax", From: "memory", Why: "Beyond it the kernel ends the service, and not another one."}
	cpuQuota    = Directive{Name: "CPUQuota", From: "cpus", Why: "The processors that it may use. All if nothing is written."}
	tasksMax    = Directive{Name: "TasksMax", Values: values("1024"), From: "limits.tasks", Why: "Processes and threads of the whole unit: forking without end ends there."}
	limitNPROC  = Directive{Name: "LimitNPROC", Values: values("1024"), From: "limits.nproc", Why: "The same for its user, which has nothing else."}
	limitNOFILE = Directive{Name: "LimitNOFILE", Values: values("4096"), From: "limits.nofile", Why: "Open files and connections."}
	limitAS     = Directive{Name: "LimitAS", From: "limits.address_space",
		Why: "Address space, without a limit if nothing is written: a model is mapped as a whole and CUDA reserves more than the machine has, so that `MemoryMax` is what bounds memory."}
	limitCORE = Directive{Name: "LimitCORE", Values: values("0"), From: "limits.core", Why: "A core dump would write prompts and answers to a disk."}
)

// ModelServer is for the servers that answer for models.
func ModelServer() *Profile {
	return &Profile{
		Name:    "model-server",
		For:     "llama.cpp, vLLM, Ollama",
		Assumes: "The server is a stranger's code that parses models and prompts which strangers wrote, and is taken over. What it may then reach is its model, its clients, and its GPU if it has one.",
		Directives: with(base,
			on("PrivateUsers", "It sees no user but its own and root, so that another's id is worth nothing to it."),
			Directive{Name: "UMask", Values: values("0077"), Why: "What it writes is its own."},
			Directive{Name: "PrivateTmp", Values: []string{}, Words: []string{"disconnected", "yes", "no"},
				Why: "`disconnected` on hosts whose systemd has it (257, known from `llmhost probe`). Else /tmp is a file system in memory by `TemporaryFileSystem=`, which scores 0.2 worse and isn't: `PrivateTmp=yes` would be a folder on the disk."},
			memoryMax, cpuQuota, tasksMax, limitNPROC, limitNOFILE, limitAS, limitCORE,
			Directive{Name: "OOMPolicy", Values: values("kill"), Words: []string{"kill", "stop", "continue"},
				Why: "When one of its processes is ended for lack of memory, none is left half working."},
			Directive{Name: "Restart", Values: values("on-failure"), Words: []string{"on-failure", "always", "no", "on-abnormal"},
				Why: "A server that crashes comes back. One that was stopped doesn't."},
			Directive{Name: "RestartSec", Values: values("2s"), From: "restart.delay", Why: "Time for the GPU's memory to be given back."},
			Directive{Name: "TimeoutStopSec", Values: values("30s"), From: "stop_timeout", Why: "Requests that run are let end before the server is told to stop, for this long."},
		),
	}
}

// Gateway is for what stands between clients and model servers.
func Gateway() *Profile {
	return &Profile{
		Name:    "gateway",
		For:     "a proxy that ends TLS, checks keys and passes requests on to servers' sockets",
		Assumes: "It reads whatever the network sends. Taken over, it reaches the sockets of the servers whose groups it was given, and no file.",
		Directives: with(base,
			Directive{Name: "PrivateNetwork", Values: values("no"), Words: onOff, Why: "It listens on the host's network: that is what it is for."},
			Directive{Name: "RestrictAddressFamilies", Values: values("AF_INET AF_INET6 AF_UNIX"), Why: "Clients come by the Internet's families, servers are behind sockets."},
			Directive{Name: "IPAddressAllow", Values: values("localhost"), Why: "Who else may connect is named by whoever deploys it."},
			Directive{Name: "PrivateTmp", Values: values("yes"), Words: []string{"disconnected", "yes", "no"}, Why: "Temporary files of its own."},
			Directive{Name: "NoExecPaths", Values: values("/tmp /var/tmp"), Why: "What was written there can't be run."},
			on("PrivateUsers", "It sees no user but its own and root, so that another's id is worth nothing to it."),
			Directive{Name: "UMask", Values: values("0077"), Why: "What it writes is its own."},
			Directive{Name: "MemoryMax", Values: values("512M"), From: "memory", Why: "Beyond it the kernel ends the service, and not a model server."},
			cpuQuota,
			Directive{Name: "TasksMax", Values: values("256"), From: "limits.tasks", Why: "Processes and threads of the whole unit."},
			Directive{Name: "LimitNPROC", Values: values("256"), From: "limits.nproc", Why: "The same for its user."},
			Directive{Name: "LimitNOFILE", Values: values("65536"), From: "limits.nofile", Why: "Two for each client that waits for an answer."},
			limitAS, limitCORE,
			Directive{Name: "Restart", Values: values("always"), Words: []string{"always", "on-failure", "no"}, Why: "Without it nothing is reachable."},
			Directive{Name: "RestartSec", Values: values("1s"), From: "restart.delay", Why: "Clients are waiting."},
		),
	}
}

// Monitor is for what looks at the host and its servers, and reports.
func Monitor() *Profile {
	return &Profile{
		Name:    "monitor",
		For:     "exporters and probes that read the state of the machine and ask servers",
		Assumes: "It is asked by others and reads what many write. Taken over, it can look, and change nothing.",
		Directives: with(base,
			Directive{Name: "PrivateNetwork", Values: values("no"), Words: onOff, Why: "It is asked over the loopback interface."},
			Directive{Name: "RestrictAddressFamilies", Values: values("AF_INET AF_INET6 AF_UNIX"), Why: "The same, and the sockets of servers."},
			Directive{Name: "IPAddressAllow", Values: values("localhost"), Why: "The loopback interface and nothing beyond."},
			Directive{Name: "ProcSubset", Values: values("all"), Words: []string{"pid", "all"}, Why: "Load, memory and pressure of the machine are what it reports."},
			Directive{Name: "PrivateTmp", Values: values("yes"), Words: []string{"disconnected", "yes", "no"}, Why: "Temporary files of its own."},
			Directive{Name: "NoExecPaths", Values: values("/tmp /var/tmp"), Why: "What was written there can't be run."},
			Directive{Name: "UMask", Values: values("0077"), Why: "What it writes is its own."},
			on("PrivateUsers", "It sees no user but its own and root."),
			Directive{Name: "MemoryMax", Values: values("256M"), From: "memory", Why: "A monitor that needs more is what it should report."},
			cpuQuota,
			Directive{Name: "TasksMax", Values: values("64"), From: "limits.tasks", Why: "Processes and threads of the whole unit."},
			Directive{Name: "LimitNPROC", Values: values("64"), From: "limits.nproc", Why: "The same for its user."},
			Directive{Name: "LimitNOFILE", Values: values("1024"), From: "limits.nofile", Why: "Files that it reads and who asks."},
			limitAS, limitCORE,
			Directive{Name: "Nice", Values: values("5"), Why: "Looking at a machine must not slow it down."},
			Directive{Name: "Restart", Values: values("always"), Words: []string{"always", "on-failure", "no"}, Why: "A monitor that is gone reports nothing."},
			Directive{Name: "RestartSec", Values: values("5s"), From: "restart.delay", Why: "Nobody waits for it."},
		),
	}
}

// Batch is for work that is started, ends, and has no clients.
func Batch() *Profile {
	return &Profile{
		Name:    "batch",
		For:     "checks and verifications of models",
		Assumes: "It runs as root, since it reads models that may be anybody's, and parses nothing of them. Taken over, it reads files and writes the agent's state.",
		Directives: with(base,
			Directive{Name: "ProtectHome", Values: values("read-only"), Words: []string{"yes", "tmpfs", "read-only", "no"},
				Why: "A model that was adopted where it is may be in a home folder."},
			Directive{Name: "RestrictAddressFamilies", Values: values("none"),
				Why: "No socket at all: root may command systemd and everything else that listens on one of the host's."},
			Directive{Name: "CapabilityBoundingSet", Values: values("CAP_DAC_READ_SEARCH"), Why: "One capability: to read files whatever their mode is."},
			Directive{Name: "SystemCallFilter", Values: values("@system-service", "~@privileged @resources", "@chown"),
				Why: "Its files get their owner before they get their name."},
			Directive{Name: "PrivateTmp", Values: values("yes"), Words: []string{"disconnected", "yes", "no"}, Why: "Temporary files of its own."},
			Directive{Name: "NoExecPaths", Values: values("/tmp /var/tmp"), Why: "What was written there can't be run."},
			Directive{Name: "UMask", Values: values("0022"), Why: "Its reports are read by others."},
			Directive{Name: "TasksMax", Values: values("64"), Why: "Processes and threads of the whole unit."},
			Directive{Name: "LimitNPROC", Values: []string{}, Why: "None: it is root's, who has other processes."},
			Directive{Name: "LimitNOFILE", Values: values("1024"), Why: "It reads one model at a time."},
			Directive{Name: "LimitCORE", Values: values("0"), Why: "A core dump would hold pieces of models."},
		),
	}
}
