package inference

import (
	"maps"
	"path"

	"github.com/llmhost/llmhost/internal/hostfile"
)

// Command is what an engine is started as, whatever starts it: a unit, a compose project or a
// quadlet. Paths are those that the server sees, which are the same in all of them.
type Command struct {
	// Program is the server program with its leading arguments. For a container image it is
	// empty: its entrypoint is used, unless the host file names an executable.
	Program []string
	Args    []string
	// Environment holds no secret: those come as files.
	Environment map[string]string
	// Scratch are folders in memory that the engine has to be able to write.
	Scratch []Scratch
	// CompilesAtRunTime says that the engine makes code while it runs, so that memory can't be
	// kept from becoming executable.
	CompilesAtRunTime bool
	// ShowsSlots says that the server tells at /slots which requests run, so that they can be let
	// end before it is stopped.
	ShowsSlots bool
	// Files are small files that the engine reads besides its model.
	Files []CommandFile
	// InnerPorts are the ports of the loopback interface that the engine's own processes talk
	// to each other on, which they pick themselves.
	InnerPorts InnerPorts
}

// CommandFile is a small file that an engine reads. It holds no secret.
type CommandFile struct {
	Name    string // of the file on the host, in the server's own folder there (Server.HostFile)
	Inside  string // its path as the server sees it
	Content string
}

// InnerPorts is a range of ports as systemd writes it, such as "49152-65535".
type InnerPorts string

const (
	// NoPorts is for an engine that is one process, or whose processes talk without a network.
	NoPorts InnerPorts = ""
	// AllPorts is for one that lets the kernel pick: no range allows that to a process.
	AllPorts InnerPorts = "all"
)

// Scratch is a folder in memory that a server may write.
type Scratch struct {
	Path string
	Size hostfile.Bytes
	// Exec allows programs in it, for engines that compile and load what they compiled.
	Exec bool
}

// commands are the engines by their kind.
var commands = map[string]func(*Server) Command{
	hostfile.KindLlamaCpp: (*Server).llamaCpp,
	hostfile.KindVLLM:     (*Server).vllm,
	hostfile.KindOllama:   (*Server).ollama,
}

// Command is how the server's engine is started.
func (s *Server) Command() Command {
	command := commands[s.Engine.Kind](s)
	if s.GPU != nil && len(s.GPU.Environment) > 0 {
		command.Environment = maps.Clone(command.Environment)
		maps.Copy(command.Environment, s.GPU.Environment)
	}
	return command
}

// inContainer tells whether the server runs in a container, in whose network every address is
// its own: what of it can be reached from outside is decided by the port that is published.
func (s *Server) inContainer() bool { return s.Server.Runtime != hostfile.RuntimeSystemd }

// bindAddress is the address that a server with a TCP port listens on, as it sees it.
func (s *Server) bindAddress() string {
	if s.inContainer() {
		return "0.0.0.0"
	}
	return s.Server.Listen.Addr.Addr().String()
}

// program is the server program's path as the server sees it, nil for an image's own.
func (s *Server) program() []string {
	p := s.Engine.Program()
	switch {
	case p == "":
		return nil
	case s.Engine.Form() == hostfile.FormVenv:
		return []string{path.Join(s.venv(), p)}
	}
	return []string{"/" + p}
}

// HostFile is the path on the host of a small file that the server's engine reads.
func (s *Server) HostFile(f CommandFile) string { return path.Join(s.filesFolder(), f.Name) }

func (s *Server) filesFolder() string { return path.Join(FilesRoot, s.Server.Name) }
