package inference

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/hostfile"
)

// GPU is what a sandbox is opened for when a server uses a GPU: nothing of it is assumed, since
// a device class that doesn't exist silently blocks the device.
type GPU struct {
	Vendor string
	// Cards are those that the server gets, in the order of their indexes.
	Cards   []Card
	Devices systemd.DevicesAllowed
	// Environment names the cards to the vendor's libraries. Those of AMD and Intel take what
	// they can open.
	Environment map[string]string
	// Groups may open the devices.
	Groups []string
	// Libraries of the driver, which have to be those of the host's kernel module and so can't
	// come with an engine.
	Libraries systemd.Binds
	// After are units that make the devices.
	After []string
}

// Card is one graphics card of a host. What wasn't probed is empty.
type Card struct {
	Index int    // in the host file
	UUID  string // NVIDIA's
	Node  string // the device that is the card's alone: /dev/nvidia0, /dev/dri/renderD128
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

// numbers of NVIDIA's devices that never change (Documentation/admin-guide/devices.txt of the
// kernel), and of DRM's.
const (
	nvidiaMajor   = 195
	nvidiaControl = 255 // /dev/nvidiactl
	drmMajor      = 226
)

// newGPU opens cards to a sandbox. Cards that were probed are opened one by one; others as a
// class, which is all cards of the host.
func newGPU(host *hostfile.Host, facts *hostfile.Facts, server *hostfile.Server) (*GPU, error) {
	if len(host.GPUs) == 0 {
		return nil, fmt.Errorf("host %q has no gpu block", host.Name)
	}
	probe := fmt.Sprintf("run llmhost probe -s %s", host.Name)
	if facts == nil {
		return nil, fmt.Errorf("host %q wasn't probed, so its devices aren't known: %s first", host.Name, probe)
	}
	vendor := host.GPUs[0].Vendor
	gpu := &GPU{Vendor: vendor}
	known := true
	for _, g := range host.GPUsOf(server) {
		card := Card{Index: g.Index}
		if fact := facts.Card(vendor, g.Index); fact != nil {
			card.UUID, card.Node = fact.UUID, fact.Node
		}
		known = known && card.Node != ""
		gpu.Cards = append(gpu.Cards, card)
	}
	some := len(gpu.Cards) < len(host.GPUs)
	if some && !known {
		return nil, fmt.Errorf("the facts of host %q don't say which device each of its GPUs is: %s again", host.Name, probe)
	}
	for _, class := range slices.Sorted(slices.Values(facts.DeviceClasses)) {
		// The cards' own classes are opened by their numbers instead.
		if known && slices.Contains(cardClasses, class) {
			continue
		}
		if slices.ContainsFunc(deviceClasses[vendor], func(known string) bool { return matches(known, class) }) {
			gpu.Devices = append(gpu.Devices, systemd.DeviceAllowed{Device: class, Access: "rw"})
		}
	}
	if known {
		gpu.Devices = append(gpu.Devices, nodes(vendor, gpu.Cards)...)
	}
	if len(gpu.Devices) == 0 {
		return nil, fmt.Errorf("the facts of host %q hold no device class of %s (%s): install the GPU's driver there and %s again",
			host.Name, vendor, strings.Join(deviceClasses[vendor], ", "), probe)
	}
	if vendor == "nvidia" {
		if some {
			uuids, err := uuidsOf(gpu.Cards)
			if err != nil {
				return nil, fmt.Errorf("the facts of host %q %w: %s again", host.Name, err, probe)
			}
			gpu.Environment = map[string]string{"CUDA_VISIBLE_DEVICES": strings.Join(uuids, ",")}
		}
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

// cardClasses are the classes that hold the cards' own devices. Those of one major number are
// one class to systemd, which would open all cards.
var cardClasses = []string{"char-nvidia", "char-nvidia-frontend", "char-nvidiactl", "char-nvidia-modeset", "char-nvidia-caps", "char-drm"}

// nodes are the devices of cards, by their numbers: systemd takes /dev/char/MAJOR:MINOR as it is
// (bpf-devices.c), where it silently leaves out a path that isn't there yet.
func nodes(vendor string, cards []Card) systemd.DevicesAllowed {
	var devices systemd.DevicesAllowed
	add := func(major int, minor string) {
		devices = append(devices, systemd.DeviceAllowed{Device: fmt.Sprintf("/dev/char/%d:%s", major, minor), Access: "rw"})
	}
	for _, c := range cards {
		if vendor == "nvidia" {
			add(nvidiaMajor, strings.TrimPrefix(c.Node, "/dev/nvidia"))
		} else {
			add(drmMajor, strings.TrimPrefix(c.Node, "/dev/dri/renderD"))
		}
	}
	if vendor == "nvidia" {
		add(nvidiaMajor, strconv.Itoa(nvidiaControl))
	}
	return devices
}

// uuidsOf name cards to CUDA, whose own numbers go by speed.
func uuidsOf(cards []Card) ([]string, error) {
	var uuids []string
	for _, c := range cards {
		if c.UUID == "" {
			return nil, fmt.Errorf("don't hold the UUID of GPU %d", c.Index)
		}
		uuids = append(uuids, c.UUID)
	}
	return uuids, nil
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
