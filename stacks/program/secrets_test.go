package program

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/render"
	"github.com/llmhost/llmhost/internal/secrets"
)

const keyed = `host "den" {
	local {}
	engine "llama.cpp" {
		source = "/e.tar.zst"
		sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	}
	model "m" {
		source = "/m.gguf"
		sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	}
	server "chat" {
		engine  = "llama.cpp"
		model   = "m"
		memory  = "1GiB"
		api_key = "family"
	}
	secret "family" {
		max_age = "48h"
		overlap = "1h"
	}
}`

// settings are a stack's with a secret, encrypted or not.
func settings(t *testing.T, value string, encrypted bool) {
	t.Helper()
	config, err := json.Marshal(map[string]string{"llmhost:secret-family": value})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PULUMI_CONFIG", string(config))
	if encrypted {
		t.Setenv("PULUMI_CONFIG_SECRET_KEYS", `["llmhost:secret-family"]`)
	}
}

// credential is what the program declares for the server.
func credential(t *testing.T, secret secrets.Secret) (credential, unit resource.PropertyMap) {
	t.Helper()
	text, err := secret.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	settings(t, text, true)
	resources, err := render.Program(Run, project(t, map[string]string{"den.hcl": keyed}), "llmhost", "den")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resources {
		switch r.Name {
		case "chat-api-key":
			credential = r.Inputs
		case "chat-unit":
			unit = r.Inputs
		}
		for key, v := range r.Inputs {
			// The keys are in one place, and marked as secret there.
			if !v.ContainsSecrets() && secrets.Pattern.MatchString(v.String()) {
				t.Errorf("%s %s shows a key in %s", r.Type, r.Name, key)
			}
		}
	}
	return credential, unit
}

func TestKeysAreSecretAllTheWay(t *testing.T) {
	now := time.Now()
	first := secrets.Generate(hostfile.SecretAPIKey, now.Add(-3*time.Hour))
	second := first.Rotate(now, time.Hour)
	in, unit := credential(t, second)
	content := in["content"]
	if !content.IsSecret() || content.SecretValue().Element.StringValue() != second.Keys[0].Value+"\n"+second.Keys[1].Value+"\n" {
		t.Fatalf("the credential's content: %v", content)
	}
	if in["created"].StringValue() != second.Current().Created.Format(time.RFC3339) || in["maxAgeSeconds"].NumberValue() != 48*3600 ||
		in["expires"].StringValue() != second.Keys[1].Expires.Format(time.RFC3339) || in["secret"].StringValue() != "family" {
		t.Errorf("the credential: %v", in)
	}
	if ids := unit["restartOn"].ObjectValue()["api keys"].StringValue(); ids != second.Keys[0].ID+" "+second.Keys[1].ID {
		t.Errorf("the unit restarts on %q", ids)
	}
}

// A key whose time is over isn't deployed any more, and the server forgets it.
func TestKeysEndWithTheirOverlap(t *testing.T) {
	now := time.Now()
	first := secrets.Generate(hostfile.SecretAPIKey, now.Add(-3*time.Hour))
	second := first.Rotate(now.Add(-2*time.Hour), time.Hour)
	in, unit := credential(t, second)
	if text := in["content"].SecretValue().Element.StringValue(); text != second.Current().Value+"\n" || in["expires"].StringValue() != "" {
		t.Errorf("%d lines are deployed", strings.Count(text, "\n"))
	}
	if ids := unit["restartOn"].ObjectValue()["api keys"].StringValue(); ids != second.Current().ID {
		t.Errorf("the unit restarts on %q", ids)
	}
}

func TestKeysThatCantBeUsedAreRefused(t *testing.T) {
	good, err := secrets.Generate(hostfile.SecretAPIKey, time.Now()).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	hmac, err := secrets.Generate(hostfile.SecretHMAC, time.Now()).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		value     string
		encrypted bool
		want      string
	}{
		"in clear":     {good, false, "in clear"},
		"damaged":      {"hunter2", true, "rotate family --now -s den"},
		"another kind": {hmac, true, "kind hmac"},
	} {
		t.Run(name, func(t *testing.T) {
			settings(t, c.value, c.encrypted)
			_, err := render.Program(Run, project(t, map[string]string{"den.hcl": keyed}), "llmhost", "den")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "den.hcl:") || secrets.Pattern.MatchString(err.Error()) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		root := project(t, map[string]string{"den.hcl": keyed})
		if _, err := render.Program(Run, root, "llmhost", "den"); err == nil || !strings.Contains(err.Error(), "llmhost secrets generate -s den") {
			t.Errorf("got %v", err)
		}
		// What is only looked at needs no key.
		if _, err := render.Program(Render, root, "llmhost", "den"); err != nil {
			t.Error(err)
		}
	})
}
