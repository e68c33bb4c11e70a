package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const qemuProgram = "qemu-system-x86_64"

// kernelArgs: a panic ends QEMU (with -no-reboot), so that no dead guest keeps its port.
const kernelArgs = "console=ttyS0 panic=-1 quiet net.ifnames=0 apparmor=1 security=apparmor audit_backlog_limit=8192 " +
	"mitigations=off nokaslr tsc=reliable random.trust_cpu=on"

// machine is the virtual hardware of a lab host. A frozen state resumes only on the same.
type machine struct {
	image       image
	qemuVersion string
	accelerator accelerator
}

func findMachine(ctx context.Context, p *progress, img image) (machine, error) {
	out, err := exec.CommandContext(ctx, qemuProgram, "--version").Output()
	if err != nil {
		return machine{}, fmt.Errorf("%s --version: %w", qemuProgram, err)
	}
	version, _, _ := strings.Cut(string(out), "\n")
	acc, err := chooseAccelerator(ctx, p, img, version)
	return machine{image: img, qemuVersion: version, accelerator: acc}, err
}

// hardware is the part of QEMU's command line that the guest sees.
func (m machine) hardware() []string {
	args := []string{"-machine", "q35,hpet=off"}
	args = append(args, m.accelerator.args...)
	return append(args,
		"-smp", strconv.Itoa(m.accelerator.cpus),
		"-m", strconv.Itoa(memoryMiB),
		"-append", kernelArgs,
		"-nodefaults", "-display", "none", "-no-reboot",
		"-device", "virtio-blk-pci,drive=disk",
		"-device", "virtio-net-pci,netdev=net,romfile=",
		"-device", "virtio-rng-pci",
		// Tells the guest on each resume that it is another machine now, and its random
		// numbers must be too.
		"-device", "vmgenid,guid=auto",
		"-serial", "chardev:console",
	)
}

// start starts QEMU. The guest reaches no network, and is reached on one port of loopback.
// QEMU outlives this process.
func (m machine) start(o launchOptions, monitor string, port int) (*exec.Cmd, error) {
	args := m.hardware()
	args = append(args,
		"-name", processName(o.name),
		"-kernel", m.image.kernel(), "-initrd", m.image.initrd(),
		"-drive", "if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file="+escapeComma(filepath.Join(o.dir, "disk.qcow2")),
		"-netdev", fmt.Sprintf("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:%d-10.0.2.15:22", port),
		"-chardev", "file,id=console,path="+escapeComma(filepath.Join(o.dir, "console.log")),
		"-qmp", "unix:"+escapeComma(monitor)+",server=on,wait=off",
	)
	log, err := os.OpenFile(filepath.Join(o.dir, "qemu.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(qemuProgram, append(args, o.args...)...)
	cmd.Dir = o.workDir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting QEMU: %w", err)
	}
	return cmd, nil
}

// processName marks a QEMU process as a lab host's, for people and for [VM.Running].
func processName(host string) string { return "llmhost-lab-" + host }

// escapeComma keeps a path with a comma one value of a QEMU option.
func escapeComma(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// overlay makes a disk that holds what differs from another.
func overlay(ctx context.Context, file, backing string) error {
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", backing, file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("qemu-img create %s: %w\n%s", file, err, out)
	}
	return nil
}

// shutdownTime is how long a program that was asked to end may take before it's killed.
const shutdownTime = 10 * time.Second
