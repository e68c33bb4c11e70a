package inference

import (
	"maps"

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
}

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
	if p := s.Engine.Program(); p != "" {
		return []string{"/" + p}
	}
	return nil
}
