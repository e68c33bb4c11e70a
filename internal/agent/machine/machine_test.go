package machine

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// build makes a root directory of files.
func build(t *testing.T, files map[string]string) Root {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Root(root)
}

func TestDesktop(t *testing.T) {
	r := build(t, map[string]string{
		"etc/os-release": "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_ID=\"13\"\nID=debian\n",
		"proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD Ryzen 9 7950X 16-Core Processor\nphysical id\t: 0\ncore id\t\t: 0\n\n" +
			"processor\t: 1\nmodel name\t: AMD Ryzen 9 7950X 16-Core Processor\nphysical id\t: 0\ncore id\t\t: 1\n\n" +
			"processor\t: 2\nmodel name\t: AMD Ryzen 9 7950X 16-Core Processor\nphysical id\t: 0\ncore id\t\t: 0\n\n",
		"proc/meminfo": "MemTotal:       65536001 kB\nMemFree:         1 kB\n",
		"proc/devices": "Character devices:\n  1 mem\n195 nvidia\n195 nvidiactl\n226 drm\n234 kfd\n510 nvidia-uvm\n\nBlock devices:\n  7 loop\n  9 drm\n",
	})
	if id, version := r.OS(); id != "debian" || version != "13" {
		t.Errorf("OS %q %q", id, version)
	}
	if model, cores := r.CPU(); model != "AMD Ryzen 9 7950X 16-Core Processor" || cores != 2 {
		t.Errorf("CPU %q with %d cores", model, cores)
	}
	if got := r.Memory(); got != 64000<<20 {
		t.Errorf("memory %d", got)
	}
	want := []string{"char-drm", "char-kfd", "char-nvidia", "char-nvidia-uvm", "char-nvidiactl"}
	if diff := cmp.Diff(want, r.DeviceClasses()); diff != "" {
		t.Error(diff)
	}
}

func TestBoardWithoutCoreNumbers(t *testing.T) {
	r := build(t, map[string]string{
		"usr/lib/os-release":     "ID='fedora'\nVERSION_ID=42\n",
		"proc/cpuinfo":           "processor\t: 0\nBogoMIPS\t: 108.00\n\nprocessor\t: 1\n",
		"proc/device-tree/model": "NVIDIA Jetson AGX Orin\x00",
	})
	if model, cores := r.CPU(); model != "NVIDIA Jetson AGX Orin" || cores != 2 {
		t.Errorf("CPU %q with %d cores", model, cores)
	}
	if id, version := r.OS(); id != "fedora" || version != "42" {
		t.Errorf("OS %q %q", id, version)
	}
}

func pci(address, vendor, device, class, driver string) map[string]string {
	dir := "sys/bus/pci/devices/" + address + "/"
	return map[string]string{dir + "vendor": vendor + "\n", dir + "device": device + "\n", dir + "class": class + "\n", dir + "uevent": "DRIVER=" + driver + "\nPCI_CLASS=30000\n"}
}

func merge(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

func TestGraphicsCards(t *testing.T) {
	files := merge(
		pci("0000:00:02.0", "0x8086", "0x4680", "0x030000", "i915"),
		pci("0000:00:1f.3", "0x8086", "0x7ad0", "0x040300", "snd_hda_intel"), // a sound card
		pci("0000:00:05.0", "0x1234", "0x1111", "0x030000", "bochs"),         // a virtual machine's screen
		pci("0000:01:00.0", "0x10de", "0x2684", "0x030000", "nvidia"),
		pci("0000:02:00.0", "0x10de", "0x2204", "0x030200", "nvidia"),
		pci("0000:03:00.0", "0x1002", "0x744c", "0x030000", "amdgpu"),
		map[string]string{
			"proc/driver/nvidia/gpus/0000:01:00.0/information":     "Model: \t\t NVIDIA GeForce RTX 4090\nGPU UUID: \t GPU-????????-????-????-????-????????????\nDevice Minor: \t 0\n",
			"proc/driver/nvidia/gpus/0000:02:00.0/information":     "Model: \t\t NVIDIA GeForce RTX 3090\nIRQ:   \t\t 150\nGPU UUID: \t GPU-0f8a9e6e-9c5d-ae53-0cb7-1c8d2c3b6d53\nDevice Minor: \t 1\n",
			"sys/bus/pci/devices/0000:02:00.0/drm/renderD129/dev":  "226:129\n",
			"sys/bus/pci/devices/0000:03:00.0/drm/card1/dev":       "226:1\n",
			"sys/bus/pci/devices/0000:03:00.0/drm/renderD130/dev":  "226:130\n",
			"sys/bus/pci/devices/0000:03:00.0/mem_info_vram_total": "25753026560\n",
		},
	)
	got := build(t, files).GPUs(t.Context(), func(context.Context) string {
		return "00000000:01:00.0, NVIDIA GeForce RTX 4090, 570.86.10, 24564\n"
	})
	want := []GPU{
		{Vendor: "intel", Name: "8086:4680", Driver: "i915", Address: "0000:00:02.0"},
		{Vendor: "nvidia", Name: "NVIDIA GeForce RTX 4090", Driver: "nvidia 570.86.10", VRAM: 24564 << 20, Address: "0000:01:00.0", Node: "/dev/nvidia0"},
		{Vendor: "nvidia", Name: "NVIDIA GeForce RTX 3090", Driver: "nvidia", Address: "0000:02:00.0", UUID: "GPU-0f8a9e6e-9c5d-ae53-0cb7-1c8d2c3b6d53", Node: "/dev/nvidia1"},
		{Vendor: "amd", Name: "1002:744c", Driver: "amdgpu", VRAM: 25753026560, Address: "0000:03:00.0", Node: "/dev/dri/renderD130"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMachineThatShowsNothing(t *testing.T) {
	r := build(t, nil)
	model, cores := r.CPU()
	if model != "" || cores != 0 || r.Memory() != 0 || r.DeviceClasses() != nil || r.GPUs(t.Context(), nil) != nil {
		t.Error("facts out of nothing")
	}
}
