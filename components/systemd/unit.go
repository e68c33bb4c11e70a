// Package systemd describes units as Go values, renders them as unit files and reads them back.
//
// It exists so that a unit is never text pasted together: a directive is a typed field, a
// value is escaped in the one place that knows how systemd will read it, and what systemd
// would understand differently (a newline, a line continuation, a specifier, a variable) is
// refused or escaped. Rendering is pure and its order is stable, so a unit can be compared,
// previewed and golden-tested without a host.
//
// A field has the name of its directive in systemd.unit(5), systemd.service(5),
// systemd.socket(5), systemd.timer(5), systemd.path(5), systemd.exec(5), systemd.kill(5) and
// systemd.resource-control(5), or in podman-systemd.unit(5), and fields are rendered in the order in which they are declared
// here.
package systemd

// Kind is a type of unit: the suffix of its name.
type Kind string

// The kinds of units that llmhost deploys.
const (
	KindService Kind = "service"
	KindSocket  Kind = "socket"
	KindTimer   Kind = "timer"
	KindPath    Kind = "path"
	KindSlice   Kind = "slice"
)

var kinds = []Kind{KindService, KindSocket, KindTimer, KindPath, KindSlice, KindContainer}

// Unit is a unit file. It has the section of its kind, [Unit] and [Install], and no other;
// a container also has [Service].
type Unit struct {
	Kind Kind // empty: a service

	Unit      UnitSection
	Container ContainerSection
	Service   ServiceSection
	Socket    SocketSection
	Timer     TimerSection
	Path      PathSection
	Slice     SliceSection
	Install   InstallSection
	Sandbox   SandboxSection
}

// UnitSection is the [Unit] section.
type UnitSection struct {
	Description   Text
	Documentation Words

	// Order and requirements.
	Before               Words
	After                Words
	Wants                Words
	Requires             Words
	Requisite            Words
	BindsTo              Words
	PartOf               Words
	ReloadPropagatedFrom Words
	Conflicts            Words
	OnFailure            Words
	OnSuccess            Words
	RequiresMountsFor    Words

	// What has to be so, or the unit isn't started: a condition skips it, an assertion fails it.
	ConditionPathExists        Conditions
	ConditionPathIsMountPoint  Conditions
	ConditionDirectoryNotEmpty Conditions
	ConditionFileNotEmpty      Conditions
	AssertPathExists           Conditions
	AssertPathIsMountPoint     Conditions
	DefaultDependencies        Bool
	StopWhenUnneeded           Bool
	RefuseManualStart          Bool
	RefuseManualStop           Bool
	StartLimitIntervalSec      Duration
	StartLimitBurst            *Count
}

// ServiceSection is the [Service] section.
type ServiceSection struct {
	Type            Keyword
	RemainAfterExit Bool
	ExecCondition   Commands
	ExecStartPre    Commands
	ExecStart       Command
	ExecStartPost   Commands
	ExecReload      Commands
	ExecStop        Commands
	ExecStopPost    Commands

	// Life of the process.
	Restart            Keyword
	RestartSec         Duration
	RestartSteps       *Count
	RestartMaxDelaySec Duration
	TimeoutStartSec    Duration
	TimeoutStopSec     Duration
	RuntimeMaxSec      Duration
	WatchdogSec        Duration
	NotifyAccess       Keyword
	SuccessExitStatus  Words
	KillMode           Keyword
	KillSignal         Keyword
	SendSIGKILL        Bool
	OOMPolicy          Keyword
	OOMScoreAdjust     *Integer
	Sockets            Words
	Delegate           Bool
	Slice              Keyword

	// Identity.
	DynamicUser         Bool
	User                Keyword
	Group               Keyword
	SupplementaryGroups Words
	UMask               Mode
	PrivateUsers        Bool
	WorkingDirectory    Path
	Environment         Environment
	SyslogIdentifier    Keyword
	LogRateLimitBurst   *Count
	LogNamespace        Keyword

	// Credentials, which are files in a folder in memory that only the service can read. What
	// stands in a unit can be read by everybody on the host, so there is no SetCredential= here.
	LoadCredential          Credentials
	LoadCredentialEncrypted Credentials
	SetCredentialEncrypted  SealedCredentials

	// File system.
	RootDirectory              Path
	MountAPIVFS                Bool
	RuntimeDirectory           Words
	RuntimeDirectoryMode       Mode
	RuntimeDirectoryPreserve   Keyword
	StateDirectory             Words
	StateDirectoryMode         Mode
	CacheDirectory             Words
	CacheDirectoryMode         Mode
	LogsDirectory              Words
	LogsDirectoryMode          Mode
	ConfigurationDirectory     Words
	ConfigurationDirectoryMode Mode
	TemporaryFileSystem        TemporaryFileSystems
	BindPaths                  Binds
	BindReadOnlyPaths          Binds
	ReadWritePaths             Words
	ReadOnlyPaths              Words
	InaccessiblePaths          Words
	ExecPaths                  Words
	NoExecPaths                Words
	ProtectSystem              Keyword
	ProtectHome                Keyword
	PrivateTmp                 Keyword
	PrivateMounts              Bool
	PrivateIPC                 Bool

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
	SocketBindAllow         Lines // each line is one rule

	// Kernel.
	ProtectProc           Keyword
	ProcSubset            Keyword
	PrivatePIDs           Bool // since systemd 257
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
	AppArmorProfile         Profile

	// Resources.
	Nice              *Integer
	CPUWeight         *Count
	CPUQuota          Percent
	AllowedCPUs       Words
	IOWeight          *Count
	IOSchedulingClass Keyword
	MemoryHigh        *Bytes
	MemoryMax         *Bytes
	MemorySwapMax     *Bytes
	TasksMax          *Count
	LimitNOFILE       *Count
	LimitNPROC        *Count
	LimitAS           *Bytes
	LimitCORE         *Bytes
	LimitMEMLOCK      *Bytes
}

// SocketSection is the [Socket] section, whose directives are in systemd.socket(5).
type SocketSection struct {
	ListenStream            Listeners
	ListenDatagram          Listeners
	ListenSequentialPacket  Listeners
	SocketUser              Keyword
	SocketGroup             Keyword
	SocketMode              Mode
	DirectoryMode           Mode
	Accept                  Bool
	Backlog                 *Count
	MaxConnections          *Count
	MaxConnectionsPerSource *Count
	KeepAlive               Bool
	NoDelay                 Bool
	FreeBind                Bool
	BindIPv6Only            Keyword
	RemoveOnStop            Bool
	FileDescriptorName      Keyword
	Service                 Keyword
	TriggerLimitIntervalSec Duration
	TriggerLimitBurst       *Count
}

// TimerSection is the [Timer] section, whose directives are in systemd.timer(5).
type TimerSection struct {
	OnActiveSec        Duration
	OnBootSec          Duration
	OnUnitActiveSec    Duration
	OnUnitInactiveSec  Duration
	OnCalendar         Text // in the words of systemd.time(7)
	AccuracySec        Duration
	RandomizedDelaySec Duration
	FixedRandomDelay   Bool
	Persistent         Bool
	WakeSystem         Bool
	RemainAfterElapse  Bool
	Unit               Keyword
}

// PathSection is the [Path] section, whose directives are in systemd.path(5).
type PathSection struct {
	PathExists              Paths
	PathChanged             Paths
	PathModified            Paths
	DirectoryNotEmpty       Paths
	Unit                    Keyword
	MakeDirectory           Bool
	DirectoryMode           Mode
	TriggerLimitIntervalSec Duration
	TriggerLimitBurst       *Count
}

// SliceSection is the [Slice] section: what all units in a slice may use together
// (systemd.resource-control(5)).
type SliceSection struct {
	CPUWeight      *Count
	CPUQuota       Percent
	AllowedCPUs    Words
	IOWeight       *Count
	MemoryHigh     *Bytes
	MemoryMax      *Bytes
	MemorySwapMax  *Bytes
	TasksMax       *Count
	DevicePolicy   Keyword
	DeviceAllow    DevicesAllowed
	IPAddressDeny  Words
	IPAddressAllow Words
}

// InstallSection is the [Install] section.
type InstallSection struct {
	Alias      Words
	WantedBy   Words
	RequiredBy Words
	Also       Words
}

// SandboxSection is the [X-Sandbox] section. systemd leaves sections alone whose names begin with
// "X-" (systemd.unit(5)): it is for whoever reads the unit.
type SandboxSection struct {
	Profile Keyword // what the sandbox was made from
	Relaxed Texts   // where it is opened, and why
}
