package machine

import (
	"context"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"time"
)

// GPU is a graphics card. What isn't known is empty.
type GPU struct {
	Vendor string // nvidia, amd, intel
	Name   string
	Driver string
	VRAM   uint64 // bytes

	Address string // on PCI
	UUID    string // NVIDIA's
	Node    string // its own device, by which it can be opened without the others
}

// vendors are those of PCI's numbers whose cards run models.
var vendors = map[string]string{"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}

// displayClass begins the class of every display controller on PCI.
const displayClass = "0x03"

// GPUs lists the cards in the order of their PCI addresses. query asks NVIDIA's driver and may
// be nil.
func (r Root) GPUs(ctx context.Context, query func(context.Context) string) []GPU {
	var gpus []GPU
	var asked map[string]GPU
	for _, address := range r.list("/sys/bus/pci/devices") {
		dir := path.Join("/sys/bus/pci/devices", address)
		vendor, known := vendors[r.text(path.Join(dir, "vendor"))]
		if !known || !strings.HasPrefix(r.text(path.Join(dir, "class")), displayClass) {
			continue
		}
		gpu := GPU{
			Vendor: vendor,
			Name:   r.text(path.Join(dir, "product_name")),
			Driver: assignments(r.text(path.Join(dir, "uevent")))["DRIVER"],

			Address: address,
			Node:    r.renderNode(dir),
		}
		gpu.VRAM, _ = strconv.ParseUint(r.text(path.Join(dir, "mem_info_vram_total")), 10, 64) // amdgpu
		if vendor == "nvidia" {
			if asked == nil && query != nil {
				asked = parseNVIDIA(query(ctx))
			}
			r.nvidia(address, &gpu, asked)
		}
		if gpu.Name == "" {
			gpu.Name = strings.TrimPrefix(r.text(path.Join(dir, "vendor")), "0x") + ":" + strings.TrimPrefix(r.text(path.Join(dir, "device")), "0x")
		}
		gpus = append(gpus, gpu)
	}
	return gpus
}

// renderNode is the device of a card that computes and shows nothing; "" for a driver without one.
func (r Root) renderNode(dir string) string {
	for _, name := range r.list(path.Join(dir, "drm")) {
		if strings.HasPrefix(name, "renderD") {
			return path.Join("/dev/dri", name)
		}
	}
	return ""
}

// nvidia adds what NVIDIA's driver says of a card.
func (r Root) nvidia(address string, gpu *GPU, asked map[string]GPU) {
	information := r.text(path.Join("/proc/driver/nvidia/gpus", address, "information"))
	if name := field(information, "Model"); name != "" {
		gpu.Name = name
	}
	// Its compute libraries open the driver's own device, and not the render node that it may have besides.
	gpu.Node = ""
	if minor := field(information, "Device Minor"); minor != "" {
		gpu.Node = "/dev/nvidia" + minor
	}
	if uuid := field(information, "GPU UUID"); !strings.Contains(uuid, "?") { // not read from the card yet
		gpu.UUID = uuid
	}
	if is, ok := asked[address]; ok {
		gpu.Name, gpu.VRAM = is.Name, is.VRAM
		gpu.Driver = "nvidia " + is.Driver
	}
}

// parseNVIDIA reads nvidia-smi's table: bus id, name, version of the driver, memory in MiB.
func parseNVIDIA(table string) map[string]GPU {
	gpus := map[string]GPU{}
	for line := range strings.Lines(table) {
		columns := strings.Split(line, ",")
		if len(columns) != 4 {
			continue
		}
		for i := range columns {
			columns[i] = strings.TrimSpace(columns[i])
		}
		// nvidia-smi writes the domain with eight digits, the kernel with four.
		id := strings.ToLower(columns[0])
		if len(id) > len("0000:00:00.0") {
			id = id[len(id)-len("0000:00:00.0"):]
		}
		mib, err := strconv.ParseUint(columns[3], 10, 64)
		if err != nil {
			mib = 0
		}
		gpus[id] = GPU{Vendor: "nvidia", Name: columns[1], Driver: columns[2], VRAM: mib << 20}
	}
	return gpus
}

// QueryNVIDIA asks nvidia-smi, where it is installed.
func QueryNVIDIA(ctx context.Context) string {
	tool, err := exec.LookPath("nvidia-smi")
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second) // it loads the driver first
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, "--query-gpu=pci.bus_id,name,driver_version,memory.total", "--format=csv,noheader,nounits")
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return string(out)
}
