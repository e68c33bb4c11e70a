package inference

import "github.com/llmhost/llmhost/internal/hostfile"

// imagePrograms are the server programs of the engines' own images: ghcr.io/ggml-org/llama.cpp,
// vllm/vllm-openai and ollama/ollama. An engine block names another by its executable.
var imagePrograms = map[string]string{
	hostfile.KindLlamaCpp: "app/llama-server",
	hostfile.KindVLLM:     "usr/local/bin/vllm",
	hostfile.KindOllama:   "bin/ollama",
}

// InContainer is the server as it is started in a container: on its socket, whatever port leads to
// it, and by a program that is named, since it isn't started by the image's own entrypoint.
func (s *Server) InContainer() *Server {
	inside := *s
	inside.Server.Listen = hostfile.Listen{Unix: true}
	if inside.Engine.Executable == "" {
		inside.Engine.Executable = imagePrograms[s.Engine.Kind]
	}
	return &inside
}
