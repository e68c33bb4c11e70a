package provider_test

import (
	"testing"

	"github.com/llmhost/llmhost/internal/provider"
	"github.com/llmhost/llmhost/internal/requirements"
)

func TestPendingID(t *testing.T) {
	want := map[string]string{
		"Directory": "/srv/a", "File": "/etc/a", "Model": "/srv/a.gguf", "Engine": "/opt/a/" + digestA,
		"Program": "/usr/local/lib/a", "Image": "podman/llm-a/sha256:" + digestA, "SystemUser": "llm-a", "SystemdUnit": "a.service",
		"Credential": "/etc/llmhost/credentials/a",
		"Quadlet":    "llm-a/llmhost-a",
		"EngineRoot": "/opt/a", "Package": "llama.cpp-tools", "Venv": "/opt/a/" + requirements.Digest(requirementsA),
		"ComposeProject": "a",
	}
	want["Firewall"], want["SshdConfig"], want["AppArmorProfile"], want["AuditRules"] = "/etc/a", "/etc/ssh/a", "/etc/apparmor.d/a", "/etc/a"
	for _, kind := range kinds {
		in, _ := sample(kind)
		if id, ok := provider.PendingID("llmhost:index:"+kind, in); !ok || id != want[kind] {
			t.Errorf("%s: %q, %t, want %q", kind, id, ok, want[kind])
		}
		for _, key := range replaceKeys[kind] {
			if id, ok := provider.PendingID("llmhost:index:"+kind, with(in, key, unknown())); ok {
				t.Errorf("%s whose %s isn't known has the ID %q", kind, key, id)
			}
		}
	}
	in, _ := sample("File")
	if id, ok := provider.PendingID("other:index:File", in); ok {
		t.Errorf("another provider's File has the ID %q", id)
	}
}
