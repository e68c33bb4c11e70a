package inference

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/hostfile"
)

// GPU is what a sandbox is opened for when a server uses a GPU: nothing of it is assumed, since
// a device class that doesn't exist silently blocks the device.
type GPU struct {
	Devices systemd.DevicesAllowed
	// Groups may open the devices.
	Groups []string
	// Libraries of the driver, which have to be those of the host's kernel module and so can't
	// come with an engine.
	Libraries systemd.Binds
	// After are units that make the devices.
	After []string
}

// driverInside is where a sandbox holds the driver's libraries. It is below /run, which is an
// empty file system in memory there, so that nothing is created in the engine's folder.
const driverInside = "/run/gpu-driver"

// deviceClasses are the classes in /proc/devices by vendor. A class that ends in "*" stands
// for all that begin so: NVIDIA's driver has renamed and added classes (before 550.40,
// char-nvidia was char-nvidia-frontend).
var deviceClasses = map[string][]string{
	"nvidia": {"char-nvidia*"},
	"amd":    {"char-kfd", "char-drm"},
	"intel":  {"char-drm"},
}

// nvidiaLibraries are what CUDA loads of the driver: its API, and the compilers that it uses
// when an engine has no code for this very GPU. NVML is for reports only.
var nvidiaLibraries = []struct {
	name     string
	optional bool
}{
	{"libcuda.so.1", false},
	{"libnvidia-ptxjitcompiler.so.1", true},
	{"libnvidia-nvvm.so.4", true},
	{"libnvidia-ml.so.1", true},
}

func newGPU(host *hostfile.Host, facts *hostfile.Facts) (*GPU, error) {
	if len(host.GPUs) == 0 {
		return nil, fmt.Errorf("host %q has no gpu block", host.Name)
	}
	probe := fmt.Sprintf("run llmhost probe -s %s", host.Name)
	if facts == nil {
		return nil, fmt.Errorf("host %q wasn't probed, so its devices aren't known: %s first", host.Name, probe)
	}
	vendor := host.GPUs[0].Vendor
	gpu := &GPU{}
	for _, class := range slices.Sorted(slices.Values(facts.DeviceClasses)) {
		if slices.ContainsFunc(deviceClasses[vendor], func(known string) bool { return matches(known, class) }) {
			gpu.Devices = append(gpu.Devices, systemd.DeviceAllowed{Device: class, Access: "rw"})
		}
	}
	if len(gpu.Devices) == 0 {
		return nil, fmt.Errorf("the facts of host %q hold no device class of %s (%s): install the GPU's driver there and %s again",
			host.Name, vendor, strings.Join(deviceClasses[vendor], ", "), probe)
	}
	if vendor == "nvidia" {
		folder := libraryFolder(facts)
		for _, library := range nvidiaLibraries {
			gpu.Libraries = append(gpu.Libraries, systemd.Bind{
				Source:   path.Join(folder, library.name),
				Target:   path.Join(driverInside, library.name),
				Optional: library.optional,
			})
		}
		// Without privileges the driver's own helper can't make the devices.
		gpu.After = []string{"nvidia-persistenced.service"}
	} else {
		// Nodes below /dev/dri and /dev/kfd belong to this group, by systemd's own udev rules.
		gpu.Groups = []string{"render"}
	}
	return gpu, nil
}

func matches(known, class string) bool {
	if prefix, ok := strings.CutSuffix(known, "*"); ok {
		return strings.HasPrefix(class, prefix)
	}
	return known == class
}

// libraryFolder is where the host's distribution keeps libraries of its own architecture.
func libraryFolder(facts *hostfile.Facts) string {
	switch facts.OS.ID {
	case "fedora", "rhel", "centos", "rocky", "almalinux", "opensuse-leap", "opensuse-tumbleweed", "sles":
		return "/usr/lib64"
	case "arch":
		return "/usr/lib"
	}
	// Debian's multiarch, which its descendants share.
	if facts.Architecture == "arm64" {
		return "/usr/lib/aarch64-linux-gnu"
	}
	return "/usr/lib/x86_64-linux-gnu"
}
