package provider

import (
	"context"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"github.com/llmhost/llmhost/internal/remote"
)

// Config is how one provider instance reaches its host.
//
// Only HostID says which host it is: everything else may change without touching a resource.
type Config struct {
	HostID     string `pulumi:"hostId"`
	Local      bool   `pulumi:"local,optional"`
	Address    string `pulumi:"address,optional"`
	Port       int    `pulumi:"port,optional"`
	User       string `pulumi:"user,optional"`
	Identity   string `pulumi:"identity,optional"`
	KnownHosts string `pulumi:"knownHosts,optional"`
	HostKey    string `pulumi:"hostKey,optional"`
	Jump       string `pulumi:"jump,optional"`
	StateDir   string `pulumi:"stateDir,optional"`
}

var _ infer.Annotated = (*Config)(nil)

// Annotate describes the settings in the schema.
func (c *Config) Annotate(a infer.Annotator) {
	a.Describe(&c.HostID, "Identity of the host. A change of it, and of nothing else here, replaces every resource: it means another machine.")
	a.Describe(&c.Local, "Manage the machine that runs Pulumi, without SSH. Exactly one of `local` and `address` is set.")
	a.Describe(&c.Address, "Host name, IP address, or alias of the user's SSH configuration.")
	a.Describe(&c.Port, "SSH port. 0 leaves it to the user's SSH configuration.")
	a.Describe(&c.User, "Login user. Empty leaves it to the user's SSH configuration.")
	a.Describe(&c.Identity, "Path of the private key. Empty leaves it to the SSH agent and the user's SSH configuration.")
	a.Describe(&c.KnownHosts, "Path of the known_hosts file. Empty leaves it to the user's SSH configuration.")
	a.Describe(&c.HostKey, "The host's public key, as in authorized_keys. When set, no other key is accepted.")
	a.Describe(&c.Jump, "Jump host, `[user@]host[:port]`.")
	a.Describe(&c.StateDir, "Folder on the host for the ledger and the lease. Empty means `/var/lib/llmhost`.")
}

func (c *Config) target() remote.Target {
	return remote.Target{
		HostID: c.HostID, Local: c.Local, Address: c.Address, Port: c.Port, User: c.User,
		Identity: c.Identity, KnownHosts: c.KnownHosts, HostKey: c.HostKey, Jump: c.Jump, StateDir: c.StateDir,
	}
}

// configProvider makes a provider that knows the configuration alone. infer decodes into one
// live receiver, so that a field which was removed would survive from the call before;
// a provider for each call starts from nothing.
func configProvider(c *Config) p.Provider {
	return infer.Provider(infer.Options{Config: infer.Config(c)})
}

func checkConfig(ctx context.Context, req p.CheckRequest) (p.CheckResponse, error) {
	resp, err := configProvider(&Config{}).CheckConfig(ctx, req)
	if err != nil || len(resp.Failures) > 0 {
		return resp, err
	}
	in := resp.Inputs
	fail := func(property, reason string) {
		resp.Failures = append(resp.Failures, p.CheckFailure{Property: property, Reason: reason})
	}
	if v := in.Get("hostId"); v.IsString() && strings.TrimSpace(v.AsString()) == "" {
		fail("hostId", "must not be empty: it says which host the resources live on")
	}
	local, address := in.Get("local"), in.Get("address")
	if !local.IsComputed() && !address.IsComputed() {
		isLocal := local.IsBool() && local.AsBool()
		hasAddress := address.IsString() && address.AsString() != ""
		switch {
		case isLocal && hasAddress:
			fail("address", "must not be set together with local")
		case !isLocal && !hasAddress:
			fail("address", "is required, unless local is true")
		}
	}
	if v := in.Get("port"); v.IsNumber() && (v.AsNumber() < 0 || v.AsNumber() > 65535) {
		fail("port", "must be between 1 and 65535")
	}
	return resp, nil
}

// diffConfig keeps a changed address from replacing every resource: infer's own answer
// replaces the provider on any change, and the engine then deletes what it has just created.
func diffConfig(_ context.Context, req p.DiffRequest) (p.DiffResponse, error) {
	olds := req.OldInputs
	if olds.Len() == 0 {
		olds = req.State
	}
	diff := map[string]p.PropertyDiff{}
	note := func(key string, kind p.DiffKind) {
		if key == "hostId" {
			kind = p.UpdateReplace
		}
		diff[key] = p.PropertyDiff{Kind: kind, InputDiff: true}
	}
	for key, old := range olds.All {
		if internalKey(key) {
			continue
		}
		now, ok := req.Inputs.GetOk(key)
		switch {
		case !ok:
			note(key, p.Delete)
		case !now.Equals(old):
			note(key, p.Update)
		}
	}
	for key := range req.Inputs.All {
		if _, ok := olds.GetOk(key); !ok && !internalKey(key) {
			note(key, p.Add)
		}
	}
	return p.DiffResponse{HasChanges: len(diff) > 0, DetailedDiff: diff}, nil
}

// internalKey tells the engine's and the framework's own settings from the user's.
func internalKey(key string) bool {
	return key == "version" || key == "pluginDownloadURL" || strings.HasPrefix(key, "__")
}

// decodeConfig reads the configuration that Configure receives.
func decodeConfig(ctx context.Context, args property.Map) (*Config, error) {
	c := &Config{}
	if err := configProvider(c).Configure(ctx, p.ConfigureRequest{Args: args}); err != nil {
		return nil, err
	}
	return c, nil
}
