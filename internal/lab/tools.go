package lab

import (
	"context"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Need is a program that the lab calls.
type Need struct {
	Command string
	Package string // Debian's package of it
	Why     string
}

var needs = []Need{
	{"qemu-system-x86_64", "qemu-system-x86", "runs the host"},
	{"qemu-img", "qemu-utils", "makes its disks"},
	{"mmdebstrap", "mmdebstrap", "installs Debian into its image"},
	{"mke2fs", "e2fsprogs", "makes its file system"},
	{"zstd", "zstd", "compresses its frozen memory"},
	{"cpio", "cpio", "packs its initial RAM disk"},
	{"busybox", "busybox-static", "is its initial RAM disk"},
	{"ssh", "openssh-client", "logs in to it"},
	{"unshare", "util-linux", "keeps the build's mounts to itself"},
}

// Packages of files and of helpers that other programs call.
var (
	keyringNeed = Need{"", "debian-archive-keyring", "verifies Debian's packages"}
	uidmapNeed  = Need{"newuidmap", "uidmap", "lets an ordinary user build the image"}
)

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Missing says what the lab, and whoever asks for more, needs and this machine doesn't have.
func Missing(more ...Need) []Need {
	var missing []Need
	for _, n := range slices.Concat(needs, more) {
		path, err := lookPath(n.Command)
		if err != nil || n.Command == "busybox" && !static(path) {
			missing = append(missing, n)
		}
	}
	if _, err := os.Stat(debianKeyring); err != nil {
		missing = append(missing, keyringNeed)
	}
	if os.Geteuid() != 0 {
		if _, err := lookPath(uidmapNeed.Command); err != nil {
			missing = append(missing, uidmapNeed)
		}
	}
	return missing
}

// lookPath also looks where an ordinary user's PATH on Debian doesn't.
func lookPath(command string) (string, error) {
	path, err := exec.LookPath(command)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, sbinErr := exec.LookPath(filepath.Join(dir, command)); sbinErr == nil {
			return path, nil
		}
	}
	return "", err
}

// static says whether a program runs without the libraries of this machine.
func static(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}

// InstallCommand is what installs missing programs.
func InstallCommand(missing []Need) []string {
	command := []string{"apt-get", "install", "-y", "--no-install-recommends"}
	for _, n := range missing {
		command = append(command, n.Package)
	}
	return command
}

// Install installs missing programs, which root alone can. It says what and why first.
func Install(ctx context.Context, missing []Need, log io.Writer) error {
	p := newProgress(log)
	for _, n := range missing {
		p.say("needed: %s, which %s", n.Package, n.Why)
	}
	command := InstallCommand(missing)
	if os.Geteuid() != 0 {
		return fmt.Errorf("the lab needs programs that only root can install; run this and try again: sudo %s", strings.Join(command, " "))
	}
	if _, err := exec.LookPath(command[0]); err != nil {
		return fmt.Errorf("the lab needs programs of Debian, and this machine has no apt-get: install what Debian calls %s", strings.Join(command[4:], ", "))
	}
	done := p.step(strings.Join(command, " "))
	defer done()
	for _, args := range [][]string{{"apt-get", "-q", "update"}, command} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, tail(out, 20))
		}
	}
	return nil
}

// tail is the last lines of a program's output.
func tail(out []byte, lines int) string {
	all := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func missingError() error {
	missing := Missing()
	if len(missing) == 0 {
		return nil
	}
	var names []string
	for _, n := range missing {
		names = append(names, n.Package)
	}
	return fmt.Errorf("the lab needs %s; install them: %s", strings.Join(names, ", "), strings.Join(InstallCommand(missing), " "))
}
