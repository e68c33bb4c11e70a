// Package doctor judges whether a machine is fit for what its host file places on it.
//
// It exists so that what would fail or leak later is found before a deployment, each with what was found, why it matters and
// the command that mends it. It is pure: what the machine says of itself comes from the agent, which judges nothing, so that
// every judgement is tested with the output of real tools.
package doctor

import (
	"slices"
	"strings"

	"github.com/llmhost/llmhost/internal/hostfile"
)

// The verdicts of a check.
const (
	OK      = "ok"
	Warning = "warning" // works, and may fail or leak
	Problem = "problem" // will not work, or is open to a known attack
	Unknown = "unknown" // the machine didn't say
)

// Finding is what a check has found.
type Finding struct {
	Check   string `json:"check"`
	Verdict string `json:"verdict"`
	Found   string `json:"found"`
	Why     string `json:"why"`    // empty when all is well
	Remedy  string `json:"remedy"` // a command or a change of the host file; empty when all is well
}

// Evidence is one file or one program's output, as the machine gave it.
type Evidence struct {
	Text   string
	Error  string // why there is no text, or how the program ended
	Absent bool   // there is no such file or program
}

// Folder is the file system that a folder is on, or would be.
type Folder struct {
	Exists      bool
	Mode        uint32 // permission bits
	Free, Total uint64 // bytes
	MountPoint  string
	FileSystem  string
	Options     []string
	Protects    bool // files can be protected by the kernel (fs-verity)
}

// Machine is what a machine says of itself.
type Machine struct {
	Facts    *hostfile.Facts
	Evidence map[string]Evidence // by a file's path, or a program with its arguments
	Folders  map[string]Folder   // by path
	// Placed are the bytes of the models that are there already, by path.
	Placed map[string]uint64
}

// Folders are those whose file systems are asked for.
func Folders(h *hostfile.Host) []string {
	return []string{h.ModelsPath, enginesFolder, stateFolder, dockerFolder}
}

const (
	enginesFolder = "/opt/llmhost"
	stateFolder   = "/var/lib/llmhost"
	dockerFolder  = "/var/lib/docker"
)

// examination is one run of all checks.
type examination struct {
	host      *hostfile.Host
	committed *hostfile.Facts // what the facts file says; nil: there is none
	machine   Machine
	findings  []Finding
	check     string // that is running
}

// Examine runs all checks, in the order of their importance.
func Examine(h *hostfile.Host, committed *hostfile.Facts, m Machine) []Finding {
	e := &examination{host: h, committed: committed, machine: m}
	for _, c := range checks {
		e.check = c.name
		c.run(e)
	}
	slices.SortStableFunc(e.findings, func(a, b Finding) int { return order(a.Verdict) - order(b.Verdict) })
	return e.findings
}

func order(verdict string) int {
	return slices.Index([]string{Problem, Warning, Unknown, OK}, verdict)
}

// checks are all of them. Their names are what a script looks for, so they don't change.
var checks = []struct {
	name string
	run  func(*examination)
}{
	{"facts", (*examination).facts},
	{"systemd", (*examination).systemd},
	{"kernel", (*examination).kernel},
	{"cgroups", (*examination).cgroups},
	{"fit", (*examination).fit},
	{"gpu-driver", (*examination).gpuDriver},
	{"gpu-power", (*examination).gpuPower},
	{"gpu-containers", (*examination).gpuContainers},
	{"container-runtime", (*examination).containerRuntime},
	{"disk", (*examination).disk},
	{"mounts", (*examination).mounts},
	{"fs-verity", (*examination).verity},
	{"ports", (*examination).ports},
	{"time-sync", (*examination).timeSync},
	{"swap", (*examination).swap},
	{"core-dumps", (*examination).coreDumps},
	{"reboots", (*examination).reboots},
	{"ssh", (*examination).ssh},
	{"docker-group", (*examination).dockerGroup},
	{"models-folder", (*examination).modelsFolder},
}

func (e *examination) add(verdict, found, why, remedy string) {
	e.findings = append(e.findings, Finding{e.check, verdict, found, why, remedy})
}

func (e *examination) ok(found string) { e.add(OK, found, "", "") }

// text is a piece of evidence; ok is false when it isn't there, which was said then.
func (e *examination) text(source string) (text string, ok bool) {
	is := e.machine.Evidence[source]
	switch {
	case is.Absent:
		e.add(Unknown, source+" isn't there", "", "")
	case is.Error != "":
		e.add(Unknown, source+": "+firstLine(is.Error), "", "")
	default:
		return is.Text, true
	}
	return "", false
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// uses tells whether a server has the runtime.
func (e *examination) uses(runtime string) bool {
	return slices.ContainsFunc(e.host.Servers, func(s hostfile.Server) bool { return s.Runtime == runtime })
}

// gpuInContainers tells whether a server in a container uses a GPU of NVIDIA's.
func (e *examination) gpuInContainers() bool {
	return slices.ContainsFunc(e.host.Servers, func(s hostfile.Server) bool {
		gpus := e.host.GPUsOf(&s)
		return s.Runtime != hostfile.RuntimeSystemd && len(gpus) > 0 && gpus[0].Vendor == "nvidia"
	})
}
