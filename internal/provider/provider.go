package provider

import (
	"github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/middleware/schema"

	"github.com/llmhost/llmhost/internal/version"
)

// Name is the provider's package name, the first part of every token. It never changes.
const Name = "llmhost"

// Version is the provider's version, without a leading "v".
const Version = version.Version

// Option changes how New builds the provider.
type Option func(*instance)

// WithDialer replaces the connections of package remote.
func WithDialer(d Dialer) Option {
	return func(i *instance) { i.dial = d }
}

// New makes a provider: one for each host, in the plugin and in the embedded engine.
func New(opts ...Option) provider.Provider {
	i := &instance{dial: dialShared, slots: newSlots(), guarding: make(chan struct{}, 1)}
	for _, o := range opts {
		o(i)
	}
	return wrap(infer.Provider(infer.Options{
		Metadata: schema.Metadata{
			DisplayName: "llmhost",
			Description: "Resources of a hardened private LLM inference host.",
			License:     "Apache-2.0",
			Repository:  "https://github.com/llmhost/llmhost",
			Publisher:   "llmhost",
			LanguageMap: map[string]any{"go": map[string]any{
				"importBasePath": "github.com/llmhost/llmhost/internal/sdk/llmhost",
			}},
		},
		Resources: []infer.InferredResource{
			infer.Resource(&File{}),
			infer.Resource(&Directory{}),
			infer.Resource(&SystemUser{}),
			infer.Resource(&SystemdUnit{}),
			infer.Resource(&Model{}),
			infer.Resource(&Engine{}),
			infer.Resource(&Program{}),
			infer.Resource(&Firewall{}),
			infer.Resource(&SshdConfig{}),
			infer.Resource(&AppArmorProfile{}),
			infer.Resource(&AuditRules{}),
			infer.Resource(&Image{}),
			infer.Resource(&Credential{}),
			infer.Resource(&Quadlet{}),
			infer.Resource(&EngineRoot{}),
			infer.Resource(&Package{}),
			infer.Resource(&Venv{}),
			infer.Resource(&ComposeProject{}),
		},
		Config: infer.Config(&Config{}),
	}), i)
}
