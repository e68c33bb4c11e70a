package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/llmhost/llmhost/internal/hostfile"
)

const smiQuery = "nvidia-smi --query-gpu=index,name,driver_version,memory.total,memory.used,power.limit,persistence_mode --format=csv,noheader,nounits"

// card is one line of nvidia-smi's answer.
type card struct {
	index        int
	name, driver string
	total, used  string // MiB
	limit        float64
	persistent   bool
}

func cards(text string) []card {
	var all []card
	for line := range strings.Lines(text) {
		f := strings.Split(line, ",")
		if len(f) != 7 {
			continue
		}
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		index, err := strconv.Atoi(f[0])
		if err != nil {
			continue
		}
		limit, err := strconv.ParseFloat(f[5], 64)
		if err != nil {
			limit = 0 // "[N/A]": a card that can't be limited
		}
		all = append(all, card{index, f[1], f[2], f[3], f[4], limit, f[6] == "Enabled"})
	}
	return all
}

func (e *examination) nvidia() bool {
	return slices.ContainsFunc(e.host.GPUs, func(g hostfile.GPU) bool { return g.Vendor == "nvidia" })
}

func (e *examination) gpuDriver() {
	for i := range e.host.GPUs {
		g := &e.host.GPUs[i]
		fact := e.machine.Facts.Card(g.Vendor, g.Index)
		switch {
		case fact == nil:
			e.add(Problem, fmt.Sprintf("there is no GPU %d of %s", g.Index, g.Vendor), "The host file declares one.", "remove the gpu block, or look at lspci")
		case fact.Driver == "" || fact.Driver == "nouveau":
			e.add(Problem, fmt.Sprintf("GPU %d (%s) has no driver that computes", g.Index, fact.Name), "Servers can't use it.", "install the vendor's driver, then llmhost probe -s "+e.host.Name)
		case g.VRAM > 0 && fact.VRAMBytes > 0 && uint64(g.VRAM) > fact.VRAMBytes+fact.VRAMBytes/20:
			e.add(Problem, fmt.Sprintf("GPU %d has %d MiB, and the host file says %s", g.Index, fact.VRAMBytes>>20, g.VRAM), "More is placed on it than it holds.", fmt.Sprintf("vram = \"%dMiB\"", fact.VRAMBytes>>20))
		case g.Vendor != "nvidia":
			e.ok(fmt.Sprintf("GPU %d: %s with %s", g.Index, fact.Name, fact.Driver))
		}
	}
	if !e.nvidia() {
		return
	}
	is := e.machine.Evidence[smiQuery]
	switch said := firstLine(is.Text + "\n" + is.Error); {
	case is.Absent:
		e.add(Problem, "nvidia-smi isn't there", "The driver isn't installed, or not with its tools.", "install the distribution's package of NVIDIA's driver")
	case strings.Contains(is.Text+is.Error, "version mismatch"):
		e.add(Problem, said, "The driver was upgraded and the kernel still runs the older one; no program can open the GPU.", "reboot")
	case is.Error != "":
		e.add(Problem, "nvidia-smi: "+said, "The driver doesn't answer.", "dmesg | grep -i nvrm")
	default:
		for _, c := range cards(is.Text) {
			e.ok(fmt.Sprintf("GPU %d: %s, driver %s, %s of %s MiB in use", c.index, c.name, c.driver, c.used, c.total))
		}
	}
}

// gpuPower compares the power that cards may draw with the host file's.
func (e *examination) gpuPower() {
	all := cards(e.machine.Evidence[smiQuery].Text)
	for i := range e.host.GPUs {
		g := &e.host.GPUs[i]
		at := slices.IndexFunc(all, func(c card) bool { return c.index == g.Index })
		if g.PowerLimit == 0 || at < 0 {
			continue
		}
		set := fmt.Sprintf("nvidia-smi -i %d -pl %d", g.Index, g.PowerLimit)
		switch c := all[at]; {
		case c.limit == 0:
			e.add(Warning, fmt.Sprintf("GPU %d doesn't say what it may draw", g.Index), "Some cards can't be limited.", "remove power_limit")
		case int(c.limit+0.5) != g.PowerLimit:
			e.add(Warning, fmt.Sprintf("GPU %d may draw %g W, and the host file says %d W", g.Index, c.limit, g.PowerLimit), "The limit is lost at a reboot and, without persistence mode, whenever no program uses the card.", set)
		case !c.persistent:
			e.add(Warning, fmt.Sprintf("GPU %d has no persistence mode", g.Index), "Its power limit is lost whenever no program uses the card.", "systemctl enable --now nvidia-persistenced")
		default:
			e.ok(fmt.Sprintf("GPU %d may draw %d W", g.Index, g.PowerLimit))
		}
	}
}

// vulnerable are versions of NVIDIA's container toolkit with known ways out of a container, by NVIDIA's security bulletins
// (nvidia.custhelp.com), as of 2025-07.
var vulnerable = []struct {
	before  [3]int
	cve, of string
}{
	{[3]int{1, 17, 8}, "CVE-2025-23266", "bulletin 5659, July 2025"},
	{[3]int{1, 17, 4}, "CVE-2025-23359", "bulletin 5616, February 2025"},
	{[3]int{1, 16, 2}, "CVE-2024-0132", "bulletin 5582, September 2024"},
}

// toolkitVersion reads "NVIDIA Container Toolkit CLI version 1.17.4".
func toolkitVersion(text string) (v [3]int, ok bool) {
	fields := strings.Fields(firstLine(text))
	if len(fields) == 0 {
		return v, false
	}
	parts := strings.SplitN(strings.TrimPrefix(fields[len(fields)-1], "v"), ".", 3)
	if len(parts) != 3 {
		return v, false
	}
	for i, p := range parts {
		p, _, _ = strings.Cut(p, "-") // 1.18.0-rc.1
		n, err := strconv.Atoi(p)
		if err != nil {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

// gpuContainers looks at what gives containers a GPU.
func (e *examination) gpuContainers() {
	is := e.machine.Evidence["nvidia-ctk --version"]
	needed := e.gpuInContainers()
	const upgrade = "apt-get install --only-upgrade nvidia-container-toolkit"
	switch v, ok := toolkitVersion(is.Text); {
	case is.Absent && needed:
		e.add(Problem, "NVIDIA's container toolkit isn't installed", "Containers get the GPU by it.", `containers "docker" { nvidia = true, install = true }`)
	case is.Absent:
		return
	case !ok:
		e.add(Unknown, "nvidia-ctk doesn't say its version: "+firstLine(is.Text+is.Error), "", "")
	default:
		var cves []string
		for _, bad := range vulnerable {
			if slices.Compare(v[:], bad.before[:]) < 0 {
				cves = append(cves, fmt.Sprintf("%s (%s)", bad.cve, bad.of))
			}
		}
		version := fmt.Sprintf("NVIDIA's container toolkit %d.%d.%d", v[0], v[1], v[2])
		if len(cves) > 0 {
			e.add(Problem, version+" has "+strings.Join(cves, ", "), "A container that uses the GPU can become root on the host.", upgrade)
		} else {
			e.ok(version)
		}
	}
	if !needed {
		return
	}
	// Without these links a daemon-reload takes the GPU from containers (nvidia-container-toolkit #48, #251).
	if nodes, ok := e.text("/dev/char"); ok && !strings.Contains("\n"+nodes, "\n195:") {
		e.add(Warning, "there is no link to the GPU in /dev/char", "Whenever systemd reads its units again, containers lose the GPU.", "nvidia-ctk system create-dev-char-symlinks --create-all")
	}
}

func (e *examination) containerRuntime() {
	if e.uses(hostfile.RuntimeCompose) {
		e.installed("docker version --format {{.Server.Version}}", "Docker", `containers "docker" { install = true }`)
		e.installed("docker compose version --short", "Docker Compose", `containers "docker" { install = true }`)
	}
	if e.uses(hostfile.RuntimeQuadlet) {
		e.installed("podman --version", "Podman", `containers "podman" { install = true }`)
	}
}

func (e *examination) installed(source, name, remedy string) {
	is := e.machine.Evidence[source]
	switch {
	case is.Absent:
		e.add(Problem, name+" isn't installed", "Servers are run by it.", remedy)
	case is.Error != "":
		e.add(Problem, name+": "+firstLine(is.Error), "Servers are run by it, and it doesn't answer.", "systemctl status docker")
	default:
		e.ok(name + " " + strings.TrimPrefix(firstLine(is.Text), "podman version "))
	}
}
