package unitfile

import "strings"

// forms are those of the directives that are known, which have the same form in every section
// that has them.
var forms = tabulate(map[string]form{
	// Names of units: systemd.unit(5).
	"Before After Wants Requires Requisite BindsTo PartOf Upholds Conflicts OnFailure OnSuccess " +
		"PropagatesReloadTo ReloadPropagatedFrom PropagatesStopTo StopPropagatedFrom JoinsNamespaceOf " +
		"RequiresMountsFor WantsMountsFor Sockets": dependencies,

	"Description Type User Group Restart NotifyAccess KillMode OOMPolicy Slice " +
		"SyslogIdentifier LogNamespace RootDirectory RuntimeDirectoryPreserve DevicePolicy ProtectProc " +
		"ProcSubset KeyringMode SystemCallErrorNumber AppArmorProfile CPUQuota IOSchedulingClass " +
		"WorkingDirectory BindIPv6Only FileDescriptorName Service Unit SocketUser SocketGroup " +
		"Nice CPUWeight StartupCPUWeight IOWeight TasksMax OOMScoreAdjust " +
		"RestartSteps StartLimitBurst LogRateLimitBurst Backlog MaxConnections MaxConnectionsPerSource " +
		"TriggerLimitBurst": last(asIs),

	"KillSignal RestartKillSignal FinalKillSignal WatchdogSignal": last(signal),

	// A boolean, or for some of them also a word.
	"DefaultDependencies StopWhenUnneeded RefuseManualStart RefuseManualStop RemainAfterExit SendSIGKILL " +
		"SendSIGHUP DynamicUser PrivateUsers MountAPIVFS ProtectSystem ProtectHome PrivateTmp " +
		"PrivateMounts PrivateIPC PrivateDevices PrivateNetwork PrivatePIDs ProtectKernelTunables " +
		"ProtectKernelModules ProtectKernelLogs ProtectControlGroups ProtectClock ProtectHostname " +
		"NoNewPrivileges LockPersonality MemoryDenyWriteExecute RemoveIPC RestrictRealtime RestrictSUIDSGID " +
		"CPUAccounting MemoryAccounting IOAccounting TasksAccounting IPAccounting " +
		"Accept KeepAlive NoDelay FreeBind RemoveOnStop FixedRandomDelay Persistent WakeSystem " +
		"RemainAfterElapse MakeDirectory GuessMainPID": last(boolean),

	"StartLimitIntervalSec RestartSec RestartMaxDelaySec TimeoutStartSec TimeoutStopSec TimeoutAbortSec " +
		"RuntimeMaxSec WatchdogSec TriggerLimitIntervalSec AccuracySec RandomizedDelaySec " +
		"LogRateLimitIntervalSec": last(span),

	"MemoryMin MemoryLow MemoryHigh MemoryMax MemorySwapMax MemoryZSwapMax":   last(size),
	"LimitAS LimitCORE LimitDATA LimitFSIZE LimitMEMLOCK LimitRSS LimitSTACK": last(limit(size)),
	"LimitNOFILE LimitNPROC": last(limit(asIs)),

	"UMask SocketMode DirectoryMode RuntimeDirectoryMode StateDirectoryMode CacheDirectoryMode " +
		"LogsDirectoryMode ConfigurationDirectoryMode": last(octal),

	"Documentation BindPaths BindReadOnlyPaths TemporaryFileSystem RuntimeDirectory StateDirectory " +
		"CacheDirectory LogsDirectory ConfigurationDirectory": list,

	"SupplementaryGroups SystemCallArchitectures IPAddressAllow IPAddressDeny SocketBindAllow SocketBindDeny " +
		"ReadWritePaths ReadOnlyPaths InaccessiblePaths ExecPaths NoExecPaths SuccessExitStatus " +
		"RestartPreventExitStatus RestartForceExitStatus AllowedCPUs " +
		"Alias WantedBy RequiredBy UpheldBy Also": set,

	"SystemCallFilter RestrictAddressFamilies":  signed,
	"CapabilityBoundingSet AmbientCapabilities": capabilities,
	"Delegate":           booleanOr(raw),
	"RestrictNamespaces": booleanOr(signed),

	"ExecCondition ExecStartPre ExecStart ExecStartPost ExecReload ExecStop ExecStopPost": commands,

	"Listen": func(values []string) []string { return afterReset(values) },
	"ConditionPathExists ConditionPathIsMountPoint ConditionDirectoryNotEmpty ConditionFileNotEmpty " +
		"AssertPathExists AssertPathIsMountPoint " +
		"PathExists PathChanged PathModified DirectoryNotEmpty OnCalendar": raw,
	"OnActiveSec OnBootSec OnStartupSec OnUnitActiveSec OnUnitInactiveSec": each(span),

	"Environment": named("=", false),
	"LoadCredential LoadCredentialEncrypted SetCredential SetCredentialEncrypted": named(":", true),

	"DeviceAllow": devices,

	// Of a quadlet's container: podman-systemd.unit(5).
	"Image ContainerName Entrypoint Pull GroupAdd UserNS SeccompProfile PidsLimit HealthRetries Notify " +
		"StopTimeout LogDriver Timezone ShmSize HealthCmd HealthInterval HealthTimeout HealthStartPeriod": last(asIs),
	"ReadOnly ReadOnlyTmpfs": last(boolean),
	"Exec PodmanArgs DropCapability AddDevice Volume Tmpfs Network PublishPort Ulimit": raw,
	// Of the section [X-Sandbox], which is llmhost's own.
	"Profile": last(asIs),
	"Relaxed": raw,
})

func tabulate(rows map[string]form) map[string]form {
	table := map[string]form{}
	for names, f := range rows {
		for name := range strings.FieldsSeq(names) {
			table[name] = f
		}
	}
	return table
}

// signal is a signal's name, with or without its prefix.
func signal(v string) string { return strings.TrimPrefix(v, "SIG") }

// booleanOr is of a boolean, or of a list that grows with each line.
func booleanOr(list form) form {
	return func(values []string) []string {
		for _, v := range values {
			if _, ok := Bool(v); !ok {
				return list(values)
			}
		}
		return last(boolean)(values)
	}
}

// Known tells whether it is known what a directive means.
func Known(directive string) bool {
	_, ok := forms[directive]
	return ok
}
