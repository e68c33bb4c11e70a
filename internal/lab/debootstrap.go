package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// debootstrap calls mmdebstrap, which verifies and installs Debian packages into a folder of
// its own: as root, or in a user namespace for an ordinary user.
type debootstrap struct {
	suite    string
	variant  string // "minbase", or "extract" to unpack without installing
	packages []string
	mirror   mirror

	hook string // run on the root file system: a fixed script
	env  []string
	pipe *os.File // the hook's descriptor 9, to both sides

	tar io.Writer // where the root file system goes; nil if the hook takes what is needed
}

// hookDescriptor is where image.sh talks to this process.
const hookDescriptor = 9

func (d *debootstrap) run(ctx context.Context) error {
	inherited, err := inheritedOptions(ctx)
	if err != nil {
		return err
	}
	format, target := "null", "/dev/null"
	if d.tar != nil {
		format, target = "tar", "-"
	}
	args := []string{"mmdebstrap", "--mode=" + buildMode(), "--variant=" + d.variant, "--format=" + format,
		"--keyring=" + debianKeyring, "--include=" + strings.Join(d.packages, ",")}
	for _, option := range append(inherited, `Acquire::Languages "none";`, `APT::Install-Recommends "false";`) {
		args = append(args, "--aptopt="+option)
	}
	for _, option := range []string{"path-exclude=/usr/share/man/*", "path-exclude=/usr/share/doc/*",
		"path-exclude=/usr/share/locale/*", "force-unsafe-io"} {
		args = append(args, "--dpkgopt="+option)
	}
	if d.hook != "" {
		args = append(args, "--customize-hook="+d.hook)
	}
	args = append(args, d.suite, target)
	args = append(args, d.mirror.sources(d.suite)...)

	scratch, cleanUp, err := scratchDir()
	if err != nil {
		return err
	}
	defer cleanUp()
	if onTmpfs() {
		// dpkg writes every file through to the disk, which takes most of its time. The mount
		// is in a namespace of its own and ends with it.
		args = append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-c",
			`mount -t tmpfs -o size=75% tmpfs "$0" && exec "$@"`, scratch}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "TMPDIR="+scratch, "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
		"PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Env = append(cmd.Env, d.env...)
	if d.pipe != nil {
		// Not a lower number: mmdebstrap passes descriptors of its own to a shell that knows
		// single digits alone, so these must stay free for it.
		cmd.ExtraFiles = make([]*os.File, hookDescriptor-2)
		cmd.ExtraFiles[hookDescriptor-3] = d.pipe
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	cmd.Stdout = &log
	if d.tar != nil {
		cmd.Stdout = d.tar
	}
	// An interrupted mmdebstrap cleans up after itself, given the time.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = shutdownTime
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("mmdebstrap %s: %w\n%s", d.suite, err, tail(log.Bytes(), 30))
	}
	return nil
}

func buildMode() string {
	if os.Geteuid() == 0 {
		return "root"
	}
	return "unshare"
}

// scratchDir is an empty folder that the users of a user namespace can pass too.
func scratchDir() (dir string, cleanUp func(), err error) {
	dir, err = os.MkdirTemp("", "llmhost-lab-")
	if err != nil {
		return "", nil, err
	}
	mode := os.FileMode(0o700)
	if os.Geteuid() != 0 {
		mode = 0o1777 // the namespace's root is another user here
	}
	if err := os.Chmod(dir, mode|os.ModeSticky); err != nil {
		os.Remove(dir)
		return "", nil, err
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}

// onTmpfs says whether the build runs in memory: as root, and with room for it.
func onTmpfs() bool {
	const roomKiB = 6 << 20
	if os.Geteuid() != 0 {
		return false
	}
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(content)) {
		var available int
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &available); n == 1 {
			return available >= roomKiB
		}
	}
	return false
}
