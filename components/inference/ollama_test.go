package inference

import (
	"encoding/json"
	"strings"
	"testing"
)

// What Ollama would look for is there, under the names that it would look under: each layer of
// the manifest is a file of the store, or the model's own file.
func TestOllamaStoreIsWhole(t *testing.T) {
	host, facts := load(t, "engines")
	s, err := NewServer(host, facts, *host.Server("ollama"))
	if err != nil {
		t.Fatal(err)
	}
	command := s.Command()
	inside := map[string]string{} // content by path; the model's files have none
	for _, b := range s.modelBinds() {
		inside[b.Target] = ""
	}
	var manifest string
	for _, f := range command.Files {
		inside[f.Inside] = f.Content
		if f.Name == "manifest.json" {
			manifest = f.Content
			if want := "/models/manifests/registry.ollama.ai/library/seeing/latest"; f.Inside != want {
				t.Errorf("the manifest is at %s, and Ollama looks for %s", f.Inside, want)
			}
		}
	}
	var m struct {
		SchemaVersion int
		Config        ollamaLayer
		Layers        []ollamaLayer
	}
	if err := json.Unmarshal([]byte(manifest), &m); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, layer := range append(m.Layers, m.Config) {
		name := strings.TrimPrefix(layer.Digest, "sha256:")
		content, there := inside["/models/blobs/sha256-"+name]
		if !there {
			t.Errorf("the layer %s isn't in the store", layer.Digest)
		}
		if content != "" && digest(content) != name {
			t.Errorf("the layer %s has another digest", layer.Digest)
		}
		kinds = append(kinds, layer.MediaType[strings.LastIndexByte(layer.MediaType, '.')+1:])
	}
	if got, want := strings.Join(kinds, " "), "model projector params v1+json"; got != want {
		t.Errorf("the layers are %s, not %s", got, want)
	}
	var options map[string]int
	for _, f := range command.Files {
		if f.Name == "params.json" {
			if err := json.Unmarshal([]byte(f.Content), &options); err != nil {
				t.Fatal(err)
			}
		}
	}
	if options["num_ctx"] != 4096 || options["num_gpu"] != 20 || options["num_thread"] != 4 {
		t.Errorf("the model is run with %v", options)
	}
}

// An address of IPv6 stands in brackets before its port.
func TestOllamaListensWhereItShould(t *testing.T) {
	host, facts := load(t, "engines")
	for _, listen := range []string{"127.0.0.1:11434", "[::1]:8003"} {
		server := *host.Server("ollama")
		if err := server.Listen.Addr.UnmarshalText([]byte(listen)); err != nil {
			t.Fatal(err)
		}
		s, err := NewServer(host, facts, server)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Command().Environment["OLLAMA_HOST"]; got != listen {
			t.Errorf("it listens on %s, not %s", got, listen)
		}
	}
}
