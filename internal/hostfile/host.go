// Package hostfile turns a host file (hosts/NAME.hcl) into one typed and validated Host.
//
// It exists so that a fault in a host file is found before anything is contacted, and so that no other package has to know
// how a host file is written: everything after it works on Go values that have passed every check. All faults of a file are
// reported at once, each with its place and, for a near miss, with what was probably meant.
//
// The package is pure: it reads host files and facts and never the machine they describe. The blocks, attributes, defaults
// and their documentation are one table (schema.go); docs/hostfile.md is generated from it.
package hostfile

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/requirements"
)

// DefaultModelsPath is the folder that models are placed in when a host file names no other.
const DefaultModelsPath = "/srv/models"

// DefaultHub is the model hub of sources of the form hf://ORG/REPO@REVISION when a host file names no other.
const DefaultHub = "https://huggingface.co"

// DefaultVerifyEvery is how often the host reads its models again when a host file doesn't say.
const DefaultVerifyEvery = 7 * 24 * time.Hour

// The kinds of engines.
const (
	KindLlamaCpp = "llama.cpp" // runs GGUF models by llama-server
	KindVLLM     = "vllm"      // runs folders of safetensors on a GPU
	KindOllama   = "ollama"    // runs GGUF models by a llama.cpp of its own
)

// What runs a server.
const (
	RuntimeSystemd = "systemd" // a sandboxed systemd unit
	RuntimeCompose = "compose" // a container of a Docker Compose project
	RuntimeQuadlet = "quadlet" // a rootless Podman container that systemd's user manager runs
)

// Host is one machine as its host file declares it.
type Host struct {
	Place

	Name       string // the block's label, which is the file's base name and the name of the stack
	File       string // the host file, as it was given to Load or Parse
	Timezone   string // IANA name
	SSH        *SSH   // exactly one of SSH and Local is set
	Local      *Local
	GPUs       []GPU        // empty: the host has none that llmhost should use; all of one vendor
	Containers []Containers // container runtimes that llmhost sees to; others may be there
	ModelsPath string       // absolute and clean

	VerifyEvery time.Duration // how often the host reads its models again; 0: never
	MaxExposure float64       // the worst score of systemd-analyze security that a service may have; 0: any
	Hub         string        // endpoint of the model hub, without a slash at its end

	Engines []Engine
	Models  []Model
	Servers []Server
	Secrets []Secret

	Directories []Directory
	Files       []File

	Audit    bool      // record in the kernel's audit who changes what llmhost relies on
	Sshd     *Sshd     // nil: sshd stays as it is
	Firewall *Firewall // nil: none of llmhost's
}

// Place is where a block stands in its host file, for errors that come up after the file was read.
type Place struct {
	Range      hcl.Range            // the block's header
	Attributes map[string]hcl.Range // the values of the attributes that are written in the file
}

// At returns the place of an attribute's value, or of the block's header when the attribute isn't written.
func (p *Place) At(attribute string) hcl.Range {
	if r, ok := p.Attributes[attribute]; ok {
		return r
	}
	return p.Range
}

func (p *Place) place() *Place { return p }

// SSH says how to reach the host. Empty fields are decided by the user's own ssh configuration.
type SSH struct {
	Place

	Address    string // host name, IP address or alias of the user's ssh configuration
	Port       int    // 0: the ssh configuration's, else 22
	User       string
	Identity   string // absolute path of a private key; empty: the ssh agent and the ssh configuration
	KnownHosts string // absolute path; empty: the ssh configuration's
	HostKey    string // the pinned host key as "type base64"; empty: known_hosts decides
	Jump       string // [user@]host[:port]
}

// Local says that the host is the machine on which llmhost runs.
type Local struct {
	Place
}

// GPU is the accelerator that servers may use.
type GPU struct {
	Place

	Vendor     string         // nvidia, amd or intel
	Index      int            // number of the card as the driver counts, which is the order on the PCI bus
	VRAM       Bytes          // 0: not declared
	Bandwidth  BytesPerSecond // of its memory; 0: not declared
	PowerLimit int            // the most that the card may draw, in watts; 0: as the driver has it
}

// Containers is a container runtime that llmhost sees to on the host.
type Containers struct {
	Place

	Runtime string // RuntimeDocker or RuntimePodman
	Install bool   // install what is missing
	NVIDIA  bool   // containers get the GPU by NVIDIA's container toolkit
}

// The container runtimes.
const (
	RuntimeDocker = "docker" // with Compose, for servers with the runtime compose
	RuntimePodman = "podman" // for servers with the runtime quadlet
)

// Engine is an inference engine on the host. Its form says how it comes there.
type Engine struct {
	Place

	Name         string   // what servers refer to
	Kind         string   // KindLlamaCpp, KindVLLM or KindOllama
	Source       string   // absolute path of the local archive (.tar, .tar.gz or .tar.zst) of an archive or an image; empty for other forms, and for an image that is pulled
	SHA256       string   // of the archive, 64 lower-case hexadecimal digits; empty without Source
	Executable   string   // path of the server program, relative to the archive's root or to the host's for a package; empty: the kind's own (see Program)
	Package      string   // name of a package of the host's distribution
	Version      string   // of the package, as the distribution writes it; empty: whatever version is installed or offered
	Image        string   // container image: NAME@sha256:DIGEST, or sha256:ID for one that is loaded from Source
	Requirements string   // absolute path of a local pip requirements file in which every line has its hashes
	Indexes      []string // where the requirements are taken from: addresses of package indexes, or folders of wheels on the host; empty: pip's own

	RequirementsText string // what the requirements file holds; only Load reads it
}

// The forms of an engine.
const (
	FormArchive = "archive" // a root folder of its own, unpacked from an archive
	FormPackage = "package" // a package of the host's distribution
	FormImage   = "image"   // a container image
	FormVenv    = "venv"    // a Python virtual environment
)

// Form returns how the engine comes to the host.
func (e *Engine) Form() string {
	_, image := e.Attributes["image"] // also of one that isn't pinned yet
	switch {
	case image || e.Image != "":
		return FormImage
	case e.Package != "":
		return FormPackage
	case e.Requirements != "":
		return FormVenv
	}
	return FormArchive
}

// Identity names the engine's bytes: another identity is another engine. It is an archive's digest, a package's name with its
// version if one is written, an image, or the digest of a requirements file.
func (e *Engine) Identity() string {
	switch e.Form() {
	case FormImage:
		return e.Image
	case FormPackage:
		return strings.TrimSuffix(e.Package+"="+e.Version, "=")
	case FormVenv:
		return requirements.Digest(e.RequirementsText)
	}
	return e.SHA256
}

// Program returns the server program's path without a leading slash: in the archive, on the host for a package, in the
// virtual environment's folder. An image has its own, unless one is written.
func (e *Engine) Program() string {
	if e.Executable != "" || e.Form() == FormImage {
		return e.Executable
	}
	if e.Form() == FormVenv {
		return "bin/" + programs[e.Kind]
	}
	return "usr/bin/" + programs[e.Kind]
}

// programs are the server programs' names by kind of engine.
var programs = map[string]string{KindLlamaCpp: "llama-server", KindVLLM: "vllm", KindOllama: "ollama"}

// Model is a model on the host: a file or a folder.
type Model struct {
	Place

	Name        string           // what servers refer to
	Source      modelfile.Source // a local path in it is absolute
	SHA256      string           // of the file, or of the folder's manifest; 64 lower-case hexadecimal digits
	Retain      bool             // keep it on the host when it is removed from the host file
	Download    string           // who fetches it from an address or a hub: DownloadByHost or DownloadHere
	AllowPickle bool             // accept formats that run code when they are loaded
	Shape       *Shape           // nil: not known
	Signature   *Signature       // nil: none is demanded
	Companions  []Companion
}

// Shape is what of a model decides how much memory it needs (fit.Shape).
type Shape struct {
	Place

	Size       Bytes // of its weights
	Layers     int
	KVPerToken Bytes
	Vocabulary int
	Width      int
}

// Who fetches a model from an address or a hub.
const (
	DownloadByHost = "host" // the host, straight from there
	DownloadHere   = "here" // the machine that runs llmhost, which sends the bytes on to the host as they come
)

// Signature demands that a model is signed.
type Signature struct {
	Place

	Key  string // absolute path of the local public key
	File string // absolute path of the local signature; empty: the one beside the source, which is local then
}

// Companion is a further file that a server loads with a model.
type Companion struct {
	Place

	Name   string
	Kind   string           // MMProj, LoRA or Draft
	Source modelfile.Source // of one file; a local path in it is absolute
	SHA256 string           // 64 lower-case hexadecimal digits
	Shape  *Shape           // nil: not known
}

// The kinds of companions.
const (
	MMProj = "mmproj" // turns images or sound into what the model reads
	LoRA   = "lora"   // an adapter that changes the model
	Draft  = "draft"  // a small model of the same vocabulary that guesses ahead
)

// ModelFile returns the absolute path of a model on the host: of its file or its folder.
func (h *Host) ModelFile(m *Model) string {
	switch {
	case m.Source.Kind == modelfile.Host:
		if _, shard := m.Source.Shard(); shard {
			return path.Dir(m.Source.Path)
		}
		return m.Source.Path
	case m.Source.Folder:
		return path.Join(h.ModelsPath, m.Name)
	}
	return path.Join(h.ModelsPath, m.Name+".gguf")
}

// ModelEntry returns the absolute path of the file that a server is started with: the model's only file, or the first shard
// of its folder. A folder whose source names no shard is its own entry.
func (h *Host) ModelEntry(m *Model) string {
	if shard, ok := m.Source.Shard(); ok {
		return path.Join(h.ModelFile(m), shard.First().Name())
	}
	return h.ModelFile(m)
}

// CompanionFile returns the absolute path of a companion of a model on the host.
func (h *Host) CompanionFile(m *Model, c *Companion) string {
	if c.Source.Kind == modelfile.Host {
		return c.Source.Path
	}
	return path.Join(h.ModelsPath, m.Name+"."+c.Name+".gguf")
}

// Server is one model served by one engine.
type Server struct {
	Place

	Name         string // part of the user llm-NAME and of the unit llmhost-NAME.service
	Engine       string // name of an Engine of the same host
	Runtime      string // RuntimeSystemd, RuntimeCompose or RuntimeQuadlet
	Project      string // the compose project that it is in; empty: one of its own, by its name
	Model        string // name of a Model of the same host
	Listen       Listen
	GPUs         []int         // indexes of the GPUs that it uses; empty: the host's only one if it uses one
	GPULayers    int           // llama.cpp and Ollama
	Context      int           // tokens
	Threads      int           // 0: the engine's choice
	Parallel     int           // requests answered at the same time
	Memory       Bytes         // the most that it may use; derived from the model's shape when it isn't written
	CPUs         float64       // processors that it may use; 0: all
	User         string        // UID:GID or name that a container runs as; empty: llm-NAME
	AppArmor     string        // AppArmorEnforce, AppArmorComplain or AppArmorOff
	Exclusive    string        // name of a group of servers of which one runs at a time; empty: none
	APIKey       string        // name of a Secret of the same host that clients have to send; empty: none
	ReadyTimeout time.Duration // for a deployment to wait until the model answers
	StopTimeout  time.Duration // for requests to end before it is stopped
	Relaxed      []Relax       // where its sandbox is opened
	Limits       *Limits       // nil: the profile's
	Restart      *Restart      // nil: the profile's

	Quantization         string  // vLLM's --quantization; empty: the model's own
	AttentionBackend     string  // vLLM's attention backend; empty: vLLM's choice
	GPUMemoryUtilization float64 // the part of the GPU's memory that vLLM takes, above 0 and at most 1; 0: vLLM's default, 0.9
}

// Relax opens the sandbox of a server in one place.
type Relax struct {
	Place

	Directive string   // of the profile model-server
	Values    []string // its assignments
	Reason    string   // one line
}

// Limits are a server's limits. What is 0 is the profile's.
type Limits struct {
	Place

	NOFILE       int // open files
	NPROC        int // processes and threads of its user
	Tasks        int // processes and threads of its unit
	AddressSpace Bytes
	Core         Bytes // size of a core dump
}

// Restart is how a server that has failed is started again. What is 0 is the profile's.
type Restart struct {
	Place

	Delay    time.Duration // before each start
	Burst    int           // so many starts within the interval; then it is left failed
	Interval time.Duration
}

// UsesGPU tells whether the server gets a GPU. vLLM has no use without one.
func (s *Server) UsesGPU(kind string) bool {
	return len(s.GPUs) > 0 || s.GPULayers > 0 || kind == KindVLLM
}

// UserName is the system user, and the group, that the server runs as.
func (s *Server) UserName() string { return "llm-" + s.Name }

// UnitName is the server's systemd unit.
func (s *Server) UnitName() string { return "llmhost-" + s.Name + ".service" }

// Socket is the path of the server's Unix socket on the host. It's there only when the server listens on one.
func (s *Server) Socket() string { return "/run/llmhost/" + s.Name + "/llm.sock" }

// Listen is where a server accepts connections: a Unix socket, or a TCP port of a loopback address.
type Listen struct {
	Unix bool
	Addr netip.AddrPort // valid unless Unix
}

// String returns the value as it's written in a host file.
func (l Listen) String() string {
	if l.Unix {
		return "unix"
	}
	return l.Addr.String()
}

// Directory is a folder that the user wants on the host.
type Directory struct {
	Place

	Path  string // absolute and clean
	Mode  Mode
	Owner string
	Group string
	Adopt bool // take the folder over when it's there already
}

// File is a file that the user wants on the host.
type File struct {
	Place

	Path    string // absolute and clean
	Content string // used when Source is empty
	Source  string // absolute path of a local file with the content
	Mode    Mode
	Owner   string
	Group   string
	Guard   *bool // undo the change unless it is confirmed; nil: by the path
	Adopt   bool  // take the file over when it's there already
}

// Mode is a Unix permission mode with its set-user-ID, set-group-ID and sticky bits, at most 07777.
type Mode uint32

// String returns the mode in octal with four digits, as chmod(1) takes it.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// GPU returns the GPU with the given index, or nil.
func (h *Host) GPU(index int) *GPU {
	for i := range h.GPUs {
		if h.GPUs[i].Index == index {
			return &h.GPUs[i]
		}
	}
	return nil
}

// GPUsOf returns the GPUs that a server uses, in the order of their indexes.
func (h *Host) GPUsOf(s *Server) []GPU {
	engine := h.Engine(s.Engine)
	if engine == nil || !s.UsesGPU(engine.Kind) {
		return nil
	}
	if len(s.GPUs) == 0 {
		return h.GPUs
	}
	var gpus []GPU
	for _, g := range h.GPUs {
		if slices.Contains(s.GPUs, g.Index) {
			gpus = append(gpus, g)
		}
	}
	return gpus
}

// ContainersOf returns what the host file says of a container runtime, or nil.
func (h *Host) ContainersOf(runtime string) *Containers {
	return find(h.Containers, runtime, func(c *Containers) string { return c.Runtime })
}

// GroupOf returns the servers that take turns with a server, itself among them, in the order of the file; nil when it always
// runs.
func (h *Host) GroupOf(s *Server) []*Server {
	if s.Exclusive == "" {
		return nil
	}
	var group []*Server
	for i := range h.Servers {
		if h.Servers[i].Exclusive == s.Exclusive {
			group = append(group, &h.Servers[i])
		}
	}
	return group
}

// Engine returns the engine with the given name, or nil.
func (h *Host) Engine(name string) *Engine {
	return find(h.Engines, name, func(e *Engine) string { return e.Name })
}

// Model returns the model with the given name, or nil.
func (h *Host) Model(name string) *Model {
	return find(h.Models, name, func(m *Model) string { return m.Name })
}

// Server returns the server with the given name, or nil.
func (h *Host) Server(name string) *Server {
	return find(h.Servers, name, func(s *Server) string { return s.Name })
}

func find[T any](list []T, name string, nameOf func(*T) string) *T {
	for i := range list {
		if nameOf(&list[i]) == name {
			return &list[i]
		}
	}
	return nil
}

// within reports whether p is the folder dir or below it. Both are absolute and clean.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
