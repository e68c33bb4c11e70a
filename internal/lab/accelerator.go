package lab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

// accelerator is how QEMU runs a guest's instructions.
type accelerator struct {
	name      string // "kvm" or "tcg"
	args      []string
	cpus      int
	processor string // what the frozen state is tied to beside QEMU; empty for emulation
}

// probeMarker is what init.sh prints when the probe's guest has come as far as a process.
const probeMarker = "llmhost-lab: the first process runs"

// probeTime is some ten times what a guest needs that KVM runs.
const probeTime = 15 * time.Second

// emulation works everywhere. Without cx16=off, QEMU 7.2 mistranslates cmpxchg16b, and Linux
// 6.12 ends in a double fault; one virtual CPU leaves the others of a small machine alone.
func emulation() accelerator {
	return accelerator{name: "tcg", args: []string{"-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,cx16=off"}, cpus: 1}
}

func kvm() accelerator {
	return accelerator{name: "kvm", args: []string{"-accel", "kvm", "-cpu", "host"}, cpus: 2, processor: processorModel()}
}

// chooseAccelerator boots a guest under KVM to see whether KVM works. That /dev/kvm exists
// proves nothing: under nested virtualization guests may hang in early boot, or QEMU aborts.
// The answer is kept in the image's folder until this machine boots again.
func chooseAccelerator(ctx context.Context, p *progress, img image, qemuVersion string) (accelerator, error) {
	dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return emulation(), nil // no such device, or not for this user
	}
	dev.Close()
	memory := filepath.Join(img.dir, "accelerator-"+digest(bootID(), qemuVersion))
	remembered, err := os.ReadFile(memory)
	if err == nil && string(remembered) == "kvm" {
		return kvm(), nil
	}
	if err == nil {
		return emulation(), nil
	}
	done := p.step("whether KVM works here")
	works, err := kvmWorks(ctx, img)
	done()
	if err != nil {
		return accelerator{}, err
	}
	chosen := emulation()
	if works {
		chosen = kvm()
	} else {
		p.say("/dev/kvm is there and guests don't run on it: the lab's hosts are emulated, which is slower")
	}
	if err := atomicfile.Write(memory, []byte(chosen.name)); err != nil {
		return accelerator{}, err
	}
	return chosen, nil
}

func kvmWorks(ctx context.Context, img image) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	args := append(kvm().args, "-machine", "q35,hpet=off", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", img.kernel(), "-initrd", img.initrd(), "-append", "console=ttyS0 panic=-1 lab.probe")
	var console bytes.Buffer
	cmd := exec.CommandContext(ctx, qemuProgram, args...)
	cmd.Stdout = &console
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if errors.Is(ctx.Err(), context.Canceled) {
		return false, ctx.Err()
	}
	if errors.Is(err, exec.ErrNotFound) {
		return false, err
	}
	return strings.Contains(console.String(), probeMarker), nil
}

// processorModel is the host's processor, which a guest of "-cpu host" sees.
func processorModel() string {
	content, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	var lines []string
	for line := range strings.Lines(string(content)) {
		for _, name := range []string{"model name", "stepping", "microcode", "flags"} {
			if strings.HasPrefix(line, name) {
				lines = append(lines, line)
			}
		}
		if line == "\n" { // the other processors are like the first
			break
		}
	}
	return digest(lines...)
}

// bootID changes with each boot of this machine.
func bootID() string {
	content, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(content))
}
