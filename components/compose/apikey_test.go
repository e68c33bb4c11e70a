package compose

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/secrets"
)

// A container gets its keys as a file in memory that its user alone may read. Nothing of them is in
// the project's text, and a rotation makes a new container.
func TestKeysComeAsAFile(t *testing.T) {
	host, diags := hostfile.Parse([]byte(`host "keys" {
		local {}
		engine "llama.cpp" {
			image = "example.org/llama@sha256:`+strings.Repeat("a", 64)+`"
		}
		model "tiny" {
			source = "/models/tiny.gguf"
			sha256 = "`+strings.Repeat("b", 64)+`"
		}
		secret "family" {}
		server "chat" {
			engine  = "llama.cpp"
			runtime = "compose"
			model   = "tiny"
			memory  = "1GiB"
			api_key = "family"
		}
	}`), "keys.hcl")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	s, err := inference.NewServer(host, nil, host.Servers[0])
	if err != nil {
		t.Fatal(err)
	}
	secret := secrets.Generate(hostfile.SecretAPIKey, time.Now())
	text := func() string {
		t.Helper()
		s.APIKeys = &inference.APIKeys{Secret: host.Secrets[0], Keys: secret.Keys}
		text, err := NewProject(host, "chat", []*inference.Server{s}).Text()
		if err != nil {
			t.Fatal(err)
		}
		if secrets.Pattern.MatchString(text) {
			t.Errorf("the project holds a key:\n%s", text)
		}
		return text
	}
	before := text()
	for _, want := range []string{
		"source: /run/llmhost-secrets/chat/chat-api-key", "target: /run/secrets/chat-api-key", "- --api-key-file\n      - /run/secrets/chat-api-key", "- --key-file\n        - /run/secrets/chat-api-key",
	} {
		if !strings.Contains(before, want) {
			t.Errorf("the project lacks %q:\n%s", want, before)
		}
	}
	secret = secret.Rotate(time.Now(), time.Hour)
	if after := text(); after == before || !slices.Contains(strings.Split(after, "\n"), "      org.llmhost.digest.api.keys: "+s.KeyIDs()) {
		t.Errorf("a rotation changes nothing of the container:\n%s", after)
	}
}
