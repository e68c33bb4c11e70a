package provider_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"github.com/llmhost/llmhost/internal/agent/credential"
)

// testKey has the form of an API key, and is none that was ever used.
const testKey = "llmk_0000000000000000000000000000000000000000000000001"

// credentialInputs are of a credential in a folder of the test, sealed by the real systemd-creds
// with a key in another.
func credentialInputs(t *testing.T) (resource.PropertyMap, string) {
	t.Helper()
	if _, err := exec.LookPath("systemd-creds"); err != nil {
		t.Fatal("this test seals with the real systemd-creds: install the package systemd, 250 or newer")
	}
	t.Setenv("SYSTEMD_CREDENTIAL_SECRET", filepath.Join(t.TempDir(), "credential.secret"))
	path := filepath.Join(t.TempDir(), "chat-api-key")
	return resource.PropertyMap{
		"path": str(path), "content": secret(testKey), "secret": str("family"),
		"created": str(time.Now().UTC().Format(time.RFC3339)), "maxAgeSeconds": resource.NewProperty(3600.0),
	}, path
}

// What is wrong with a credential on the host shows, an update puts it right, and nothing of the
// secret is in state or in what the host said.
func TestCredentialDrift(t *testing.T) {
	in, path := credentialInputs(t)
	s := newStack(t, realHost(t))
	saved := s.mustUp("Credential", "a", in, "create")
	if !saved.outputs["content"].IsSecret() || saved.outputs["sealedWith"].IsSecret() || saved.outputs["sealedWith"].StringValue() == "" {
		t.Errorf("state: %v", saved.outputs)
	}
	if got := s.drift("a"); got != nil {
		t.Errorf("drift of a fresh credential: %v", got)
	}
	s.mustUp("Credential", "a", in, "same")
	again, err := credential.Seal(t.Context(), "chat-api-key", []byte(testKey))
	if err != nil {
		t.Fatal(err)
	}
	other, err := credential.Seal(t.Context(), "chat-api-key", []byte("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		content []byte
		mode    os.FileMode
		want    string
	}{
		{"sealed again", again, 0o600, "encrypted again by somebody else"},
		{"another secret", other, 0o600, "another secret"},
		{"in clear", []byte(testKey), 0o600, "not encrypted"},
		{"another's", []byte(strings.Repeat("QUFB", 40)), 0o600, "not encrypted"},
		{"open", nil, 0o644, "open to others: mode 0644"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.content != nil {
				if err := os.WriteFile(path, c.content, c.mode); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			seen, err := s.read("a")
			if err != nil {
				t.Fatal(err)
			}
			if got := seen.Inputs["condition"].StringValue(); !strings.HasPrefix(got, c.want) || strings.Contains(got, "hunter2") {
				t.Errorf("condition: %q, want %q", got, c.want)
			}
			if text := fmt.Sprint(seen.Inputs.Mappable(), seen.Outputs.Mappable()); strings.Contains(text, "hunter2") {
				t.Errorf("what the host holds was read: %s", text)
			}
			if got := s.drift("a"); len(got) != 1 || got[0] != "condition" {
				t.Errorf("drift: %v", got)
			}
			s.refresh("a")
			s.mustUp("Credential", "a", in, "update")
			if got := s.drift("a"); got != nil {
				t.Errorf("drift after the repair: %v", got)
			}
		})
	}
	s.destroy("a")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("after the deletion: %v", err)
	}
}

// An import, of which nothing is known but the path, takes no secret off the host.
func TestImportOfACredentialReadsNoSecret(t *testing.T) {
	in, path := credentialInputs(t)
	s := newStack(t, realHost(t))
	s.mustUp("Credential", "a", in, "create")
	s.states["b"] = &savedState{urn: urnOf("Credential", "a"), id: resource.ID(path)}
	seen, err := s.read("b")
	if err != nil {
		t.Fatal(err)
	}
	if !seen.Inputs["content"].IsSecret() || strings.Contains(fmt.Sprint(seen.Inputs.Mappable()), testKey) {
		t.Errorf("read: %v", seen.Inputs.Mappable())
	}
}

func TestAgeOfACredentialIsDrift(t *testing.T) {
	in, _ := credentialInputs(t)
	for name, c := range map[string]struct {
		in   resource.PropertyMap
		want string
	}{
		"too old":     {with(in, "created", str("2026-01-02T00:00:00Z")), "too old: made on 2026-01-02, and max_age is 1h0m0s; `llmhost secrets rotate family`"},
		"overlap":     {with(in, "expires", str("2026-01-03T00:00:00Z")), "still accepting an old key, whose time was over on 2026-01-03"},
		"never":       {with(with(in, "created", str("2026-01-02T00:00:00Z")), "maxAgeSeconds", resource.NewProperty(0.0)), "valid"},
		"in overlap":  {with(in, "expires", str("2999-01-01T00:00:00Z")), "valid"},
		"a fresh one": {in, "valid"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, realHost(t))
			s.mustUp("Credential", "a", c.in, "create")
			defer s.destroy("a")
			seen, err := s.read("a")
			if err != nil {
				t.Fatal(err)
			}
			if got := seen.Inputs["validity"].StringValue(); !strings.HasPrefix(got, c.want) {
				t.Errorf("validity: %q, want %q", got, c.want)
			}
			if warned := strings.Contains(s.log.text(), "the secret is "); warned != (c.want != "valid") {
				t.Errorf("warnings: %q", s.log.text())
			}
		})
	}
}

func TestFaultyCredentialIsRefusedWithoutItsSecret(t *testing.T) {
	in, _ := credentialInputs(t)
	for name, c := range map[string]struct {
		in   resource.PropertyMap
		want string
	}{
		"name":    {with(in, "path", str("/etc/llmhost/credentials/a b")), "letters, digits"},
		"empty":   {with(in, "content", secret("")), "0 bytes"},
		"large":   {with(in, "content", secret(strings.Repeat(testKey, 2000))), "1 to 65536"},
		"created": {with(in, "created", str("yesterday")), "a time such as"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newStackWith(t, offline(t)).up("Credential", "a", c.in)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), testKey) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
