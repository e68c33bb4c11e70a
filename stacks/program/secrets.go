package program

import (
	"fmt"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/secrets"
)

// keySource finds the keys of a host's secrets that are accepted now, by the secret's name.
type keySource func(*pulumi.Context, *hostfile.Host) (map[string][]secrets.Key, error)

// storedKeys are those of the stack's settings. A key whose time is over is left out, so that a
// deployment takes it off the host. No error shows a value.
func storedKeys(ctx *pulumi.Context, h *hostfile.Host) (map[string][]secrets.Key, error) {
	keys := map[string][]secrets.Key{}
	for i := range h.Secrets {
		s := &h.Secrets[i]
		setting := "llmhost:" + secrets.ConfigKey(s.Name)
		stored, ok := ctx.GetConfig(setting)
		if !ok {
			return nil, fmt.Errorf("%s: secret %q has no key yet: make one with llmhost secrets generate -s %s", s.Range, s.Name, ctx.Stack())
		}
		if !ctx.IsConfigSecret(setting) {
			return nil, fmt.Errorf("%s: secret %q is in clear in the stack's settings, where others may have read it: llmhost secrets rotate %s --now -s %s makes another", s.Range, s.Name, s.Name, ctx.Stack())
		}
		secret, err := secrets.Parse(stored)
		if err != nil {
			return nil, fmt.Errorf("%s: secret %q can't be used: %w; llmhost secrets rotate %s --now -s %s makes another", s.Range, s.Name, err, s.Name, ctx.Stack())
		}
		if secret.Kind != s.Kind {
			return nil, fmt.Errorf("%s: secret %q is of the kind %s here and of the kind %s in the stack's settings: use another name for the other kind", s.At("kind"), s.Name, s.Kind, secret.Kind)
		}
		keys[s.Name] = secret.Accepted(time.Now())
	}
	return keys, nil
}

// placeholderKeys stand where keys would be.
func placeholderKeys(_ *pulumi.Context, h *hostfile.Host) (map[string][]secrets.Key, error) {
	keys := map[string][]secrets.Key{}
	for i := range h.Secrets {
		keys[h.Secrets[i].Name] = []secrets.Key{{ID: "placeholder", Value: "placeholder"}}
	}
	return keys, nil
}
