package inference

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"strconv"

	"github.com/llmhost/llmhost/internal/hostfile"
)

// ollama starts Ollama's server on a store that is declared and not written by `ollama create`:
// its files are named by digests that llmhost knows, so that the placed model itself is the
// store's blob, verified and never copied, and the store can be read-only. A client that asks
// Ollama to pull, create or delete a model is refused by the file system.
func (s *Server) ollama() Command {
	store := s.ollamaStore()
	return Command{
		Program: s.program(),
		Args:    []string{"serve"},
		Environment: map[string]string{
			"OLLAMA_HOST":   fmt.Sprintf("%s:%d", bracketed(s.bindAddress()), s.Server.Listen.Addr.Port()),
			"OLLAMA_MODELS": modelsInside,
			// It would look for blobs to remove at each start.
			"OLLAMA_NOPRUNE":   "1",
			"OLLAMA_NO_CLOUD":  "1",
			"OLLAMA_NOHISTORY": "1",
			// The model is loaded once and stays, as with the other engines.
			"OLLAMA_KEEP_ALIVE":        "-1",
			"OLLAMA_MAX_LOADED_MODELS": "1",
			"OLLAMA_NUM_PARALLEL":      strconv.Itoa(s.Server.Parallel),
			"OLLAMA_CONTEXT_LENGTH":    strconv.Itoa(s.contextOfRequest()),
			// The chat template in the model's file is used, as llama.cpp does.
			"OLLAMA_GO_TEMPLATE": "0",
			// Its identity towards ollama.com, which it can't reach, is made anew at each start.
			"HOME": "/tmp",
		},
		Files: store,
		// The process that runs the model is one of its own, which it reaches by a port.
		InnerPorts: "49152-65535",
	}
}

// contextOfRequest is the context of one request: Ollama takes it for each and not for all
// together.
func (s *Server) contextOfRequest() int { return max(s.Server.Context/max(s.Server.Parallel, 1), 1) }

// The media types of an Ollama store (github.com/ollama/ollama, server/images.go).
const (
	ollamaManifest  = "application/vnd.docker.distribution.manifest.v2+json"
	ollamaConfig    = "application/vnd.docker.container.image.v1+json"
	ollamaModel     = "application/vnd.ollama.image.model"
	ollamaProjector = "application/vnd.ollama.image.projector"
	ollamaAdapter   = "application/vnd.ollama.image.adapter"
	ollamaParams    = "application/vnd.ollama.image.params"
)

// ollamaLayer names a blob. Sizes are only shown by Ollama, and a host file doesn't know the
// model's, so all are 0.
type ollamaLayer struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// ollamaStore are the files that make a store of the models folder: what the model is, what it
// is started with, and the manifest that names both and the model's own blob.
func (s *Server) ollamaStore() []CommandFile {
	config := blob("config.json", map[string]any{"model_format": "gguf", "os": "linux"})
	options := map[string]any{"num_ctx": s.contextOfRequest(), "num_gpu": s.Server.GPULayers}
	if s.Server.Threads > 0 {
		options["num_thread"] = s.Server.Threads
	}
	params := blob("params.json", options)
	layers := []ollamaLayer{{ollamaModel, "sha256:" + s.Model.SHA256, 0}}
	for _, c := range s.Companions {
		kind := map[string]string{hostfile.MMProj: ollamaProjector, hostfile.LoRA: ollamaAdapter}[c.Kind]
		layers = append(layers, ollamaLayer{kind, "sha256:" + c.SHA256, 0})
	}
	layers = append(layers, ollamaLayer{ollamaParams, "sha256:" + digest(params.Content), 0})
	manifest := CommandFile{
		Name:   "manifest.json",
		Inside: path.Join(modelsInside, "manifests/registry.ollama.ai/library", s.Model.Name, "latest"),
		Content: inJSON(map[string]any{
			"schemaVersion": 2,
			"mediaType":     ollamaManifest,
			"config":        ollamaLayer{ollamaConfig, "sha256:" + digest(config.Content), 0},
			"layers":        layers,
		}),
	}
	return []CommandFile{config, params, manifest}
}

// ollamaBlob is where a store keeps bytes with a digest.
func ollamaBlob(sha256Hex string) string {
	return path.Join(modelsInside, "blobs", "sha256-"+sha256Hex)
}

func blob(name string, content map[string]any) CommandFile {
	text := inJSON(content)
	return CommandFile{Name: name, Inside: ollamaBlob(digest(text)), Content: text}
}

func inJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("strings and numbers can be written as JSON: %v", err))
	}
	return string(text) + "\n"
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// bracketed is an address as it stands before a port.
func bracketed(address string) string {
	for _, r := range address {
		if r == ':' {
			return "[" + address + "]"
		}
	}
	return address
}
