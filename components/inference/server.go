// Package inference renders and deploys the servers that answer for models.
//
// It exists so that the sandbox of a model server is decided in one place, from the host file
// and the host's facts alone. What a server may reach is text that a preview shows and that
// golden tests pin, so a sandbox that gets worse is seen in a review.
package inference

import (
	"fmt"
	"path"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/hostfile"
)

const (
	// EnginesRoot holds the engines on the host, each in a folder named by the SHA-256 of its
	// archive. It is the default of the Engine resource's root.
	EnginesRoot = "/opt/llmhost/engines"

	// VenvsRoot holds the virtual environments, each in a folder named by the digest of what was
	// required of it. It is the default of the Venv resource's root.
	VenvsRoot = "/opt/llmhost/venvs"

	// SharedRoot is the root directory of servers whose engine is the host's own: it holds
	// nothing but places to mount on. It is the default of the EngineRoot resource's path.
	SharedRoot = "/opt/llmhost/root"

	// FilesRoot holds the small files that engines read, in a folder for each server.
	FilesRoot = "/etc/llmhost/servers"

	// ModelsGroup is the group that may read the models. Which of them a server sees is
	// decided by its sandbox, which holds its own model and no other.
	ModelsGroup = "llm-models"
)

// Server is one model server as it runs on a host, whatever engine it has and whatever runs it.
type Server struct {
	Server   hostfile.Server
	Engine   hostfile.Engine
	Model    hostfile.Model
	File     string // the model's file or folder on the host
	Entry    string // the file in it that the server is started with
	Timezone string
	Systemd  int  // major version of the host's systemd; 0: not probed
	GPU      *GPU // nil: the server uses none and can reach none
	// Group are the units of the servers that take turns with this one, itself among them, in the
	// order of the host file; nil: it always runs.
	Group []string
	// AppArmor is how AppArmor treats the server: a mode of the host file.
	AppArmor string
	// Companions are the files on the host that the server loads with the model.
	Companions []Companion
	// APIKeys are what clients may send; nil for a server that asks for none.
	APIKeys *APIKeys
	// InClear says that the host's systemd is too old to seal credentials.
	InClear bool
}

// Companion is a further file of a model.
type Companion struct {
	hostfile.Companion
	File string // on the host
}

// NewServer gathers what a server of a host needs. Facts may be nil for a host that wasn't
// probed yet; then a server that puts layers on a GPU is an error, since only the host knows
// which devices those are.
func NewServer(host *hostfile.Host, facts *hostfile.Facts, server hostfile.Server) (*Server, error) {
	engine, model := host.Engine(server.Engine), host.Model(server.Model)
	if engine == nil || model == nil {
		return nil, fmt.Errorf("%s: server %q needs the engine %q and the model %q, and the host doesn't have both",
			server.Range, server.Name, server.Engine, server.Model)
	}
	s := &Server{
		Server:   server,
		Engine:   *engine,
		Model:    *model,
		File:     host.ModelFile(model),
		Entry:    host.ModelEntry(model),
		Timezone: host.Timezone,
		InClear:  facts != nil && facts.SystemdVersion > 0 && facts.SystemdVersion < sealsSince,
	}
	if facts != nil {
		s.Systemd = facts.SystemdVersion
	}
	for _, other := range host.GroupOf(&server) {
		s.Group = append(s.Group, other.UnitName())
	}
	for i := range model.Companions {
		c := &model.Companions[i]
		s.Companions = append(s.Companions, Companion{*c, host.CompanionFile(model, c)})
	}
	if server.UsesGPU(engine.Kind) {
		gpu, err := newGPU(host, facts, &server)
		if err != nil {
			return nil, fmt.Errorf("%s: server %q uses the GPU, but %w", gpuPlace(&server), server.Name, err)
		}
		s.GPU = gpu
	}
	var err error
	if s.AppArmor, err = newAppArmor(s, facts); err != nil {
		return nil, err
	}
	return s, nil
}

// gpuPlace is where the host file says that a server uses a GPU.
func gpuPlace(s *hostfile.Server) hcl.Range {
	if _, written := s.Attributes["gpus"]; written {
		return s.At("gpus")
	}
	return s.At("gpu_layers")
}

// Address is where the server answers, as the agent dials it.
func (s *Server) Address() string {
	if s.Server.Listen.Unix {
		return "unix:" + s.Server.Socket()
	}
	return "tcp:" + s.Server.Listen.Addr.String()
}

// RestartOn are the digests of what the server has loaded: when one changes, the process still
// holds the old bytes. They are plain text from the host file and never outputs of resources,
// which would be unknown in a preview.
func (s *Server) RestartOn() map[string]string {
	digests := map[string]string{"engine": s.Engine.Identity(), "model": s.Model.SHA256}
	for _, c := range s.Companions {
		digests["companion "+c.Name] = c.SHA256
	}
	if ids := s.KeyIDs(); ids != "" {
		digests["api keys"] = ids
	}
	return digests
}

// Readiness is how a deployment finds out that the server works.
type Readiness struct {
	Address        string
	Model          string
	TimeoutSeconds int
	Credential     string // the file on the host with its API keys; empty: it asks for none
}

// Readiness asks for the model by the name that clients use.
func (s *Server) Readiness() Readiness {
	r := Readiness{Address: s.Address(), Model: s.Model.Name, TimeoutSeconds: int(s.Server.ReadyTimeout.Seconds())}
	if s.Server.APIKey != "" {
		r.Credential = s.credentialFile()
	}
	return r
}

// modelInside is the path of the model's file or folder in the sandbox. It follows from the
// model's name, wherever the model is on the host.
func (s *Server) modelInside() string {
	if s.Engine.Kind == hostfile.KindOllama {
		return ollamaBlob(s.Model.SHA256)
	}
	if s.Model.Source.Folder {
		return path.Join(modelsInside, s.Model.Name)
	}
	return path.Join(modelsInside, s.Model.Name+".gguf")
}

// entryInside is the path in the sandbox of the file that the server is started with.
func (s *Server) entryInside() string {
	return s.modelInside() + strings.TrimPrefix(s.Entry, s.File)
}

func (s *Server) companionInside(c Companion) string {
	if s.Engine.Kind == hostfile.KindOllama {
		return ollamaBlob(c.SHA256)
	}
	return path.Join(modelsInside, s.Model.Name+"."+c.Name+".gguf")
}

// modelsInside are the paths in the sandbox of the model and its companions.
func (s *Server) modelsInside() []string {
	paths := []string{s.modelInside()}
	for _, c := range s.Companions {
		paths = append(paths, s.companionInside(c))
	}
	return paths
}

// modelBinds are what the server has in its models folder: its model and the companions.
func (s *Server) modelBinds() systemd.Binds {
	binds := systemd.Binds{{Source: s.File, Target: s.modelInside()}}
	for _, c := range s.Companions {
		binds = append(binds, systemd.Bind{Source: c.File, Target: s.companionInside(c)})
	}
	return binds
}

// HomeFolder is the home folder of the server's user, if that runs its container itself: Podman
// keeps images there.
func (s *Server) HomeFolder() string { return "/var/lib/" + s.Server.UserName() }

// ModelBinds are the model and its companions: where they are on the host, and where every runtime
// shows them to the server, read-only.
func (s *Server) ModelBinds() systemd.Binds { return s.modelBinds() }
