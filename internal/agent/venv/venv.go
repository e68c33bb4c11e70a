// Package venv builds Python environments.
//
// It exists because pip is a large program that reads what strangers wrote, and the agent is root.
// So pip sees neither the host's files nor its processes: it runs without a capability in a root
// directory that holds the host's programs and the new environment, and it takes only wheels whose
// digests were demanded, which run no code when they are installed.
package venv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/task"
)

// Build is an environment to be built.
type Build struct {
	Folder       string   // that it will have: its programs name it
	At           string   // an empty folder that it is built in, on the same file system
	Cache        string   // a folder for what is downloaded, kept until the build is done
	Root         string   // the root directory in which it is built
	Requirements string   // path of the requirements file
	Indexes      []string // https addresses, and folders of wheels; empty: pip's own
}

const (
	python = "/usr/bin/python3"

	// Places in the root directory of the build, in memory.
	requirementsInside = "/run/requirements.txt"
	cacheInside        = "/run/cache"
	wheelsInside       = "/run/wheels"
)

// End ends a build that nobody waits for any more, since what it has written is removed.
func (b *Build) End(ctx context.Context) { b.task("end").End(ctx) }

// Run builds the environment and gives each line that is said to say.
func (b *Build) Run(ctx context.Context, say func(string)) error {
	for _, path := range []string{b.Folder, b.At, b.Cache, b.Root, b.Requirements} {
		if !plain.MatchString(path) {
			return fault.New(agentpb.Reason_INVALID, "%s has characters that a unit gives a meaning: use letters, digits and . _ - /", path).With("path", path)
		}
	}
	if _, err := os.Stat(python); err != nil {
		return fault.New(agentpb.Reason_NO_TOOL, "the program %s is missing on the host", python).With("tool", "python3").
			Hint("install the package python3, and python3-venv on Debian")
	}
	if err := os.MkdirAll(filepath.Join(b.Cache, "tmp"), 0o700); err != nil {
		return err
	}
	say("making the environment")
	if err := b.task("make", python, "-I", "-m", "venv", b.Folder).Run(ctx, say); err != nil {
		return b.explain(err)
	}
	args := []string{
		"-I", "-m", "pip", "install", "--require-hashes", "--only-binary", ":all:", "--no-input", "--no-color",
		"--disable-pip-version-check", "--progress-bar", "off", "--cache-dir", cacheInside,
	}
	for i, index := range b.Indexes {
		switch {
		case strings.HasPrefix(index, "/"):
			args = append(args, "--find-links", fmt.Sprintf("%s/%d", wheelsInside, i))
		case i == b.firstAddress():
			args = append(args, "--index-url", index)
		default:
			args = append(args, "--extra-index-url", index)
		}
	}
	if b.offline() {
		args = append(args, "--no-index")
	}
	args = append(args, "--requirement", requirementsInside)
	return b.explain(b.task("fill", append([]string{filepath.Join(b.Folder, "bin/python3")}, args...)...).Run(ctx, say))
}

func (b *Build) firstAddress() int {
	for i, index := range b.Indexes {
		if !strings.HasPrefix(index, "/") {
			return i
		}
	}
	return -1
}

// offline says that everything comes from folders.
func (b *Build) offline() bool { return len(b.Indexes) > 0 && b.firstAddress() < 0 }

// task is a step of the build in its sandbox. A build that nobody waits for any more is ended,
// since it is begun anew.
func (b *Build) task(step string, argv ...string) task.Task {
	t := task.Task{
		Unit:        "llmhost-venv-" + shortened(filepath.Base(b.Folder)),
		Description: step + " the Python environment " + shortened(filepath.Base(b.Folder)),
		Argv:        argv,
		Environment: []string{
			"LC_ALL=C.UTF-8", "HOME=/tmp", "TMPDIR=" + cacheInside + "/tmp", "PATH=/usr/bin:/bin", "PIP_CONFIG_FILE=/dev/null",
			// What is compiled doesn't depend on when it was: two builds are the same bytes.
			"SOURCE_DATE_EPOCH=315532800",
		},
		Properties: []string{
			"RootDirectory=" + b.Root, "MountAPIVFS=yes",
			"TemporaryFileSystem=/etc:ro", "TemporaryFileSystem=/opt:ro", "TemporaryFileSystem=/tmp:size=64M,mode=1777",
			"BindReadOnlyPaths=/usr",
			"BindReadOnlyPaths=-/etc/ld.so.cache", "BindReadOnlyPaths=-/etc/alternatives", "BindReadOnlyPaths=-/etc/python3",
			"BindReadOnlyPaths=" + b.Requirements + ":" + requirementsInside,
			"BindPaths=" + b.At + ":" + b.Folder, "BindPaths=" + b.Cache + ":" + cacheInside,
			"ReadWritePaths=" + b.Folder, "ReadWritePaths=" + cacheInside,
			"ProtectSystem=strict", "ProtectHome=yes", "PrivateDevices=yes", "PrivateIPC=yes", "ProtectProc=invisible", "ProcSubset=pid",
			"ProtectKernelTunables=yes", "ProtectKernelModules=yes", "ProtectKernelLogs=yes", "ProtectControlGroups=yes",
			"ProtectClock=yes", "ProtectHostname=yes",
			"NoNewPrivileges=yes", "CapabilityBoundingSet=", "LockPersonality=yes", "RestrictNamespaces=yes", "RestrictRealtime=yes",
			"RestrictSUIDSGID=yes", "SystemCallArchitectures=native", "SystemCallFilter=@system-service", "SystemCallErrorNumber=EPERM",
			"LimitCORE=0", "UMask=0022", "Nice=10", "TimeoutStopSec=10",
		},
	}
	for i, index := range b.Indexes {
		if strings.HasPrefix(index, "/") {
			t.Properties = append(t.Properties, fmt.Sprintf("BindReadOnlyPaths=%s:%s/%d", index, wheelsInside, i))
		}
	}
	// Debian's pip reads the certificates at its start, also when it reaches nobody.
	for _, file := range []string{"ssl", "pki", "ca-certificates"} {
		t.Properties = append(t.Properties, "BindReadOnlyPaths=-/etc/"+file)
	}
	if b.offline() {
		t.Properties = append(t.Properties, "PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX")
		return t
	}
	for _, file := range []string{"resolv.conf", "hosts", "nsswitch.conf", "gai.conf"} {
		t.Properties = append(t.Properties, "BindReadOnlyPaths=-/etc/"+file)
	}
	// Where /etc/resolv.conf leads to.
	t.Properties = append(t.Properties, "BindReadOnlyPaths=-/run/systemd/resolve", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK")
	return t
}

// plain is a path that means itself in a unit's property.
var plain = regexp.MustCompile(`^[A-Za-z0-9._/-]+$`)

func shortened(name string) string { return name[:min(len(name), 12)] }

// explain turns the end of a step into what to do about it.
func (b *Build) explain(err error) error {
	var failed *task.Failed
	if !errors.As(err, &failed) {
		return err
	}
	said := strings.Join(failed.Said, "\n")
	f := fault.New(agentpb.Reason_REASON_UNSPECIFIED, "the Python environment can't be built: %s", said)
	switch {
	case strings.Contains(said, "ensurepip is not"):
		return f.Hint("install the package python3-venv on the host")
	case strings.Contains(said, "do not match the hashes"), strings.Contains(said, "DO NOT MATCH THE HASHES"):
		f.Reason = agentpb.Reason_DIGEST_MISMATCH
		return f.Hint("what the index gave isn't what the requirements file demands: find out why before you change the file")
	case strings.Contains(said, "In --require-hashes mode"):
		return f.Hint("a package that another one needs isn't in the requirements file: make the file with uv pip compile --generate-hashes")
	case strings.Contains(said, "No matching distribution found"), strings.Contains(said, "from versions: none"):
		return f.Hint("the index has no wheel of it for the host's Python and architecture: make the requirements file for them, or name an index that has one")
	case strings.Contains(said, "No space left"):
		f.Reason = agentpb.Reason_NO_SPACE
		return f
	}
	return f
}

// validIndex refuses what pip or a unit's property could take for something else.
func validIndex(index string) error {
	switch {
	case strings.HasPrefix(index, "https://") && !strings.ContainsAny(index, " \t\r\n"):
		return nil
	case filepath.IsAbs(index) && filepath.Clean(index) == index && plain.MatchString(index):
		info, err := os.Stat(index)
		if err != nil || !info.IsDir() {
			return fault.New(agentpb.Reason_INVALID, "the folder of wheels %s is not on the host", index).With("path", index).
				Hint("copy the wheels there first: a directory block makes the folder")
		}
		return nil
	}
	return fault.New(agentpb.Reason_INVALID, "%q is neither the address of an index nor a folder", index)
}

// ValidIndexes refuses a build before anything is changed for it.
func ValidIndexes(indexes []string) error {
	for _, index := range indexes {
		if err := validIndex(index); err != nil {
			return err
		}
	}
	return nil
}
