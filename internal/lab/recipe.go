package lab

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	// suite is the Debian release of a lab host.
	suite = "trixie"

	// memoryMiB fits a model server and Docker side by side.
	memoryMiB = 2048

	// diskSize is the host's disk as it sees it; the image is sparse.
	diskSize = "16G"

	// These count changes in the code that the recipes' texts don't show.
	imageFormat  = 1
	frozenFormat = 1
)

// engineSuites hold llama.cpp, in order of preference. Older ones have no package of it.
var engineSuites = []string{"forky", "sid"}

// packages are what a host has: a server's usual ones, and those that llmhost manages.
var packages = []string{
	"systemd", "systemd-sysv", "systemd-timesyncd", "dbus", "libpam-systemd", "udev", "kmod", "tzdata",
	"openssh-server", "sudo", "iproute2", "iptables", "nftables", "procps", "less", "acl", "cron",
	"ca-certificates", "curl", "rsync", "openssl", "python3-minimal",
	"nginx-light", "apparmor", "apparmor-utils", "auditd",
	"docker.io", "docker-cli", "docker-compose", "docker-buildx",
	"podman", "crun", "netavark", "passt", "uidmap", "dbus-user-session",
	"python3-venv", "busybox-static", "attr", "strace",
}

// Accounts of a lab host. The password is no secret: a lab host listens on loopback alone,
// and its network ends there.
const (
	deployUser = "ops"   // has the lab's key, and root through sudo without a password
	plainUser  = "plain" // has a password and sudo with it, as a desktop's first user has
)

// The scripts hold no value of a user: what differs comes in by environment and descriptors.
var (
	//go:embed image.sh
	imageScript string
	//go:embed init.sh
	initScript string
)

// imageRecipe names everything that an image is made from.
func imageRecipe() string {
	return digest(fmt.Sprint(imageFormat), suite, strings.Join(packages, ","), diskSize, imageScript, initScript,
		strings.Join(engineSuites, ","), strings.Join(engineMountPoints, ","), deployUser, plainUser)
}

// stateRecipe names everything that a frozen state belongs to, beside its image: it resumes
// only on the machine model that it was frozen on.
func stateRecipe(m machine) string {
	return digest(fmt.Sprint(frozenFormat), m.qemuVersion, m.accelerator.name, m.accelerator.processor,
		strings.Join(m.hardware(), " "))
}

// cacheDir holds the images, each in a folder named by its recipe.
func cacheDir() (string, error) {
	dir := os.Getenv("LLMHOST_LAB_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("there is no place for the lab's image: set LLMHOST_LAB_CACHE to a folder (%w)", err)
		}
		dir = filepath.Join(base, "llmhost", "lab")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("the folder of the lab's image: %w", err)
	}
	return dir, nil
}
