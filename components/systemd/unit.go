// Package systemd describes units as Go values and renders them as unit files.
//
// It exists so that a unit is never text pasted together: a directive is a typed field, a
// value is escaped in the one place that knows how systemd will read it, and what systemd
// would understand differently (a newline, a line continuation, a specifier, a variable) is
// refused or escaped. Rendering is pure and its order is stable, so a unit can be compared,
// previewed and golden-tested without a host.
//
// A field has the name of its directive in systemd.unit(5), systemd.service(5),
// systemd.exec(5), systemd.kill(5) and systemd.resource-control(5), and fields are rendered
// in the order in which they are declared here.
package systemd

// Unit is a unit file of a service or of a timer.
type Unit struct {
	Unit    UnitSection
	Service ServiceSection
	Timer   TimerSection
	Install InstallSection
}

// UnitSection is the [Unit] section.
type UnitSection struct {
	Description           Text
	Documentation         Words
	After                 Words
	Wants                 Words
	Requires              Words
	StartLimitIntervalSec Duration
	StartLimitBurst       *Count
}

// ServiceSection is the [Service] section.
type ServiceSection struct {
	Type         Keyword
	ExecStartPre Commands
	ExecStart    Command

	// Life of the process.
	Restart        Keyword
	RestartSec     Duration
	TimeoutStopSec Duration
	KillSignal     Keyword
	OOMPolicy      Keyword

	// Identity.
	User                Keyword
	Group               Keyword
	SupplementaryGroups Words
	UMask               Mode
	PrivateUsers        Bool
	Environment         Environment
	SyslogIdentifier    Keyword

	// File system.
	RootDirectory        Path
	MountAPIVFS          Bool
	RuntimeDirectory     Words
	RuntimeDirectoryMode Mode
	TemporaryFileSystem  TemporaryFileSystems
	BindReadOnlyPaths    Binds
	ReadWritePaths       Words
	ProtectSystem        Keyword
	ProtectHome          Keyword
	PrivateTmp           Keyword
	PrivateMounts        Bool
	PrivateIPC           Bool

	// Devices.
	PrivateDevices Bool
	DevicePolicy   Keyword
	DeviceAllow    DevicesAllowed

	// Network.
	PrivateNetwork          Bool
	RestrictAddressFamilies Words
	IPAddressDeny           Words
	IPAddressAllow          Words
	SocketBindDeny          Words
	SocketBindAllow         Words

	// Kernel.
	ProtectProc           Keyword
	ProcSubset            Keyword
	ProtectKernelTunables Bool
	ProtectKernelModules  Bool
	ProtectKernelLogs     Bool
	ProtectControlGroups  Bool
	ProtectClock          Bool
	ProtectHostname       Bool

	// Privileges.
	NoNewPrivileges         Bool
	CapabilityBoundingSet   Words
	AmbientCapabilities     Words
	KeyringMode             Keyword
	LockPersonality         Bool
	MemoryDenyWriteExecute  Bool
	RemoveIPC               Bool
	RestrictNamespaces      Bool
	RestrictRealtime        Bool
	RestrictSUIDSGID        Bool
	SystemCallArchitectures Words
	SystemCallFilter        Lines
	SystemCallErrorNumber   Keyword

	// Resources.
	Nice              *Count
	CPUWeight         *Count
	IOSchedulingClass Keyword
	MemoryHigh        *Bytes
	MemoryMax         *Bytes
	MemorySwapMax     *Bytes
	TasksMax          *Count
	LimitNOFILE       *Count
	LimitCORE         *Bytes
}

// TimerSection is the [Timer] section, whose directives are in systemd.timer(5).
type TimerSection struct {
	OnCalendar         Text // in the words of systemd.time(7)
	RandomizedDelaySec Duration
	Persistent         Bool
}

// InstallSection is the [Install] section.
type InstallSection struct {
	WantedBy Words
}
