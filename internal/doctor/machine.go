package doctor

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/llmhost/llmhost/internal/hostfile"
)

// What the units need: SocketBindDeny= came with systemd 249, and sealed credentials with 250 (systemd.exec(5)).
const (
	systemdNeeded  = 249
	systemdSeals   = 250
	kernelNeeded   = 507 // 5.7, for the BPF programs of SocketBindDeny= and IPAddressDeny=
	kernelOutdated = 515
)

func (e *examination) facts() {
	probe := "llmhost probe -s " + e.host.Name
	if e.committed == nil {
		e.add(Warning, "the host wasn't probed", "Which devices a GPU has, and what fits on the machine, is decided by its facts.", probe)
		return
	}
	var differ []string
	for _, d := range hostfile.Compare(e.committed, e.machine.Facts) {
		differ = append(differ, d.Property)
	}
	if len(differ) > 0 {
		e.add(Warning, "the machine isn't as its facts file says: "+strings.Join(differ, ", "), "Units are rendered for the machine that it was.", probe)
		return
	}
	e.ok("the machine is as its facts file says")
}

func (e *examination) systemd() {
	v := e.machine.Facts.SystemdVersion
	switch {
	case v == 0:
		e.add(Unknown, "systemd's version isn't known", "", "")
	case v < systemdNeeded:
		e.add(Problem, fmt.Sprintf("systemd %d", v), fmt.Sprintf("Directives of the sandbox came with %d, and older versions ignore them.", systemdNeeded), "upgrade the distribution")
	case v < systemdSeals:
		e.add(Warning, fmt.Sprintf("systemd %d", v), fmt.Sprintf("Secrets are sealed from %d on; here they are files that root may read.", systemdSeals), "upgrade the distribution")
	default:
		e.ok(fmt.Sprintf("systemd %d", v))
	}
}

func (e *examination) kernel() {
	release := e.machine.Facts.Kernel
	major, rest, _ := strings.Cut(release, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	switch v := a*100 + b; {
	case errA != nil || errB != nil:
		e.add(Unknown, fmt.Sprintf("the kernel calls itself %q", release), "", "")
	case v < kernelNeeded:
		e.add(Problem, "kernel "+release, "It can't keep a server from ports and addresses that aren't its own (BPF for control groups, 5.7).", "upgrade the distribution")
	case v < kernelOutdated:
		e.add(Warning, "kernel "+release, "It is older than all kernels that are still maintained.", "upgrade the distribution")
	default:
		e.ok("kernel " + release)
	}
}

func (e *examination) cgroups() {
	const file = "/sys/fs/cgroup/cgroup.controllers"
	is := e.machine.Evidence[file]
	if is.Absent {
		e.add(Problem, "control groups are of version 1", "Limits of memory and processes, and which devices a server may open, are enforced by version 2.", "boot without systemd.unified_cgroup_hierarchy=0")
		return
	}
	text, ok := e.text(file)
	if !ok {
		return
	}
	have := strings.Fields(text)
	for _, controller := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(have, controller) {
			e.add(Problem, "the controller "+controller+" is off", "A server's limit isn't enforced without it.", "boot without cgroup_disable="+controller)
			return
		}
	}
	e.ok("version 2 with cpu, memory and pids")
}

// fit shows what doesn't fit on the machine as it is now.
func (e *examination) fit() {
	diags := e.host.CheckFit(e.machine.Facts)
	for _, d := range diags {
		verdict := Warning
		if d.Severity == 1 { // hcl.DiagError
			verdict = Problem
		}
		e.add(verdict, d.Summary, strings.TrimRight(d.Detail, "\n"), "change "+d.Subject.Filename+" at line "+strconv.Itoa(d.Subject.Start.Line))
	}
	unknown := 0
	for i := range e.host.Servers {
		if _, _, known := e.host.Needs(&e.host.Servers[i]); !known {
			unknown++
		}
	}
	switch {
	case unknown > 0:
		e.add(Unknown, fmt.Sprintf("%d of %d servers have a model whose needs aren't known", unknown, len(e.host.Servers)), "", "llmhost pin -s "+e.host.Name)
	case len(diags) == 0 && len(e.host.Servers) > 0:
		e.ok(fmt.Sprintf("the servers fit in %s of memory", humanize.IBytes(e.machine.Facts.MemoryBytes)))
	}
}

// disk compares the free space with the models that aren't there yet.
func (e *examination) disk() {
	folder, ok := e.machine.Folders[e.host.ModelsPath]
	if !ok || folder.Total == 0 {
		e.add(Unknown, "the file system of "+e.host.ModelsPath+" isn't known", "", "")
		return
	}
	needed, unknown := uint64(0), 0
	for i := range e.host.Models {
		m := &e.host.Models[i]
		if _, there := e.machine.Placed[e.host.ModelFile(m)]; there {
			continue
		}
		if m.Shape == nil {
			unknown++
			continue
		}
		needed += uint64(m.Shape.Size)
	}
	// Engines, images and logs need some space, too.
	const reserve = 2 << 30
	found := fmt.Sprintf("%s of %s free on %s", humanize.IBytes(folder.Free), humanize.IBytes(folder.Total), folder.MountPoint)
	if needed > 0 {
		found += ", and models of " + humanize.IBytes(needed) + " are still to be placed"
	}
	switch {
	case folder.Free < needed:
		e.add(Problem, found, "A push would end with a full disk.", "llmhost model gc -s "+e.host.Name+", or models { path = … } on a larger disk")
	case folder.Free < needed+reserve:
		e.add(Warning, found, "Less than 2 GiB would be left, and a full disk stops logs and updates.", "llmhost model gc -s "+e.host.Name)
	case unknown > 0:
		e.add(Unknown, fmt.Sprintf("%s; the size of %d more isn't known", found, unknown), "", "llmhost pin -s "+e.host.Name)
	default:
		e.ok(found)
	}
}

func (e *examination) mounts() {
	bad := false
	for _, dir := range []string{enginesFolder, stateFolder} {
		folder := e.machine.Folders[dir]
		if slices.Contains(folder.Options, "noexec") {
			bad = true
			e.add(Problem, fmt.Sprintf("%s is on %s, which is mounted noexec", dir, folder.MountPoint), "Engines and the agent are programs.", "mount -o remount,exec "+folder.MountPoint+", and /etc/fstab")
		}
	}
	if folder := e.machine.Folders[e.host.ModelsPath]; slices.Contains(folder.Options, "ro") {
		bad = true
		e.add(Problem, fmt.Sprintf("%s is on %s, which is mounted read-only", e.host.ModelsPath, folder.MountPoint), "Models can't be placed there.", "mount -o remount,rw "+folder.MountPoint)
	}
	if !bad {
		e.ok("programs run from where llmhost places them")
	}
}

func (e *examination) verity() {
	folder, ok := e.machine.Folders[e.host.ModelsPath]
	switch {
	case !ok || folder.FileSystem == "":
		e.add(Unknown, "the file system of the models isn't known", "", "")
	case folder.Protects:
		e.ok("the kernel can protect models on " + folder.FileSystem)
	case folder.FileSystem == "ext4":
		e.add(Warning, folder.MountPoint+" is ext4 without the feature verity", "The kernel can't notice a model that changes on the disk; llmhost reads it again now and then instead.",
			"tune2fs -O verity DEVICE (of "+folder.MountPoint+")")
	default:
		e.ok("no fs-verity on " + folder.FileSystem + ": models are read again now and then")
	}
}

// socket is a port that something listens on.
type socket struct{ address, process, unit string }

// ports looks for other programs on the servers' ports.
func (e *examination) ports() {
	text, ok := e.text("ss --no-header --listening --tcp --numeric --processes --cgroup")
	if !ok {
		return
	}
	taken := false
	for i := range e.host.Servers {
		s := &e.host.Servers[i]
		if s.Listen.Unix {
			continue
		}
		port := strconv.Itoa(int(s.Listen.Addr.Port()))
		for _, is := range sockets(text) {
			host, at, found := cutLast(is.address, ":")
			if !found || at != port || is.ours(e.host, s) {
				continue
			}
			if host = strings.Trim(host, "[]"); host != s.Listen.Addr.Addr().String() && host != "0.0.0.0" && host != "*" && host != "::" {
				continue
			}
			taken = true
			who := is.process
			if is.unit != "" {
				who += " of " + is.unit
			}
			e.add(Problem, fmt.Sprintf("port %s of server %q is taken by %s", port, s.Name, who), "The server can't listen there.", "stop it, or give the server another port: listen = …")
		}
	}
	if !taken {
		e.ok("the servers' ports are theirs or free")
	}
}

// ours tells whether a socket is the server's, or that of what brings its container's port to the host.
func (is socket) ours(h *hostfile.Host, s *hostfile.Server) bool {
	if s.Runtime == hostfile.RuntimeSystemd {
		if is.unit == s.UnitName() {
			return true
		}
		return slices.ContainsFunc(h.GroupOf(s), func(o *hostfile.Server) bool { return is.unit == o.UnitName() })
	}
	return slices.Contains([]string{"docker-proxy", "rootlessport", "pasta", "pasta.avx2", "slirp4netns", "conmon"}, is.process)
}

// sockets reads ss's lines: state, two queues, address, peer, and then users:(("NAME",pid=N,fd=N)) cgroup:PATH.
func sockets(text string) []socket {
	var all []socket
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		is := socket{address: fields[3], process: "a program that ss doesn't name"}
		if _, after, ok := strings.Cut(line, `users:(("`); ok {
			is.process, _, _ = strings.Cut(after, `"`)
		}
		if _, after, ok := strings.Cut(line, "cgroup:"); ok {
			is.unit = path.Base(strings.TrimSpace(firstField(after)))
		}
		all = append(all, is)
	}
	return all
}

func firstField(s string) string {
	if fields := strings.Fields(s); len(fields) > 0 {
		return fields[0]
	}
	return ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (e *examination) timeSync() {
	text, ok := e.text("timedatectl show")
	if !ok {
		return
	}
	if property(text, "NTPSynchronized") == "yes" {
		e.ok("the clock is synchronized")
		return
	}
	e.add(Warning, "the clock isn't synchronized", "Certificates, the ages of secrets and logs go by it.", "apt-get install systemd-timesyncd && timedatectl set-ntp true")
}

// property is a value of NAME=VALUE lines.
func property(text, name string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return value
		}
	}
	return ""
}

func (e *examination) swap() {
	text, ok := e.text("/proc/swaps")
	if !ok {
		return
	}
	var disks []string
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if device := firstField(line); i > 0 && device != "" && !strings.HasPrefix(device, "/dev/zram") {
			disks = append(disks, device)
		}
	}
	if len(disks) > 0 {
		e.add(Warning, "swap is on "+strings.Join(disks, ", "), "What programs hold in memory, prompts among it, may be written to the disk. llmhost's own units don't swap; other programs do.", "swapoff --all, and /etc/fstab; or encrypt it")
		return
	}
	e.ok("nothing is swapped to a disk")
}

func (e *examination) coreDumps() {
	pattern, ok := e.text("/proc/sys/kernel/core_pattern")
	if !ok {
		return
	}
	pattern = strings.TrimSpace(pattern)
	switch {
	case strings.Contains(pattern, "systemd-coredump"):
		// It keeps nothing of a process whose limit is 0, which those of llmhost's units are (systemd-coredump(8)).
		if storage := lastSetting(e.machine.Evidence["systemd-analyze cat-config systemd/coredump.conf"].Text, "Storage"); storage != "none" {
			e.add(Warning, "systemd-coredump keeps the memory of programs that crash", "llmhost's own servers are left out; a program that sees prompts and runs beside them isn't.",
				`printf '[Coredump]\nStorage=none\n' > /etc/systemd/coredump.conf.d/none.conf`)
			return
		}
		e.ok("systemd-coredump keeps nothing")
	case strings.HasPrefix(pattern, "|"):
		e.add(Warning, "a program gets the memory of what crashes: "+pattern, "It gets it whatever the limits say (core(5)), with the prompts in it.", "sysctl kernel.core_pattern=core")
	default:
		e.ok("core dumps are files, which the servers' limits forbid")
	}
}

// lastSetting is a setting of a configuration in parts, of which the last one counts.
func lastSetting(text, name string) string {
	value := ""
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			value = v
		}
	}
	return value
}

func (e *examination) reboots() {
	is := e.machine.Evidence["apt-config dump"]
	if is.Absent {
		e.ok("no apt, so no unattended upgrades by it")
		return
	}
	text, ok := e.text("apt-config dump")
	if !ok {
		return
	}
	if value(text, "Unattended-Upgrade::Automatic-Reboot") != "true" {
		e.ok("the host doesn't reboot by itself")
		return
	}
	at := value(text, "Unattended-Upgrade::Automatic-Reboot-Time")
	if at == "" {
		at = "any time"
	}
	e.add(Warning, "unattended upgrades reboot the host at "+at, "Servers are away until their models are loaded again, and a new kernel may lack the GPU's driver.",
		`Unattended-Upgrade::Automatic-Reboot "false" in /etc/apt/apt.conf.d/50unattended-upgrades`)
}

// value is a setting of apt: NAME "VALUE";
func value(text, name string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			return strings.ToLower(strings.Trim(rest, `";`))
		}
	}
	return ""
}

func (e *examination) ssh() {
	if e.machine.Evidence["sshd -T"].Absent {
		e.ok("no SSH server")
		return
	}
	text, ok := e.text("sshd -T")
	if !ok {
		return
	}
	settings := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		settings[strings.ToLower(name)] = value
	}
	good := true
	for _, bad := range []struct{ name, value, why, better string }{
		{"passwordauthentication", "yes", "Passwords are guessed all day long on the Internet.", "PasswordAuthentication no"},
		{"permitrootlogin", "yes", "Root's password is what is guessed first.", "PermitRootLogin prohibit-password"},
		{"permitemptypasswords", "yes", "An account without a password is open.", "PermitEmptyPasswords no"},
	} {
		if settings[bad.name] == bad.value {
			good = false
			e.add(Warning, "sshd: "+bad.name+" "+bad.value, bad.why, bad.better+" in /etc/ssh/sshd_config.d/, then systemctl reload ssh")
		}
	}
	if good {
		e.ok("keys alone open SSH")
	}
}

func (e *examination) dockerGroup() {
	text, ok := e.text("/etc/group")
	if !ok {
		return
	}
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) == 4 && fields[0] == "docker" && fields[3] != "" {
			e.add(Warning, "in the group docker: "+fields[3], "Whoever may start containers is root on the host.", "gpasswd --delete USER docker")
			return
		}
	}
	e.ok("nobody is in the group docker")
}

func (e *examination) modelsFolder() {
	folder := e.machine.Folders[e.host.ModelsPath]
	if folder.Exists && folder.Mode&0o007 != 0 {
		e.add(Warning, fmt.Sprintf("%s has the mode %04o", e.host.ModelsPath, folder.Mode), "Every program on the host may read the models.", "llmhost up -s "+e.host.Name+", which makes it 0750")
		return
	}
	e.ok("others can't read the models")
}
