// Package program is the Pulumi program of every stack: it turns a host file into components,
// and decides nothing else.
//
// It is a package of its own, beside the main package in stacks that the pulumi CLI compiles,
// because llmhost itself runs it in its own process. One program serves all hosts, since what
// differs between them is in their host files.
package program

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/components/host"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// Run declares the host that has the stack's name: hosts/STACK.hcl below the project's root.
//
// It exports the host's name as "host" and the addresses of its servers by name as "servers".
func Run(ctx *pulumi.Context) error { return run(ctx, storedKeys) }

// Render declares the same with keys that are none, so that it needs no setting of the stack's.
// What it declares is to be looked at and never to be deployed.
func Render(ctx *pulumi.Context) error { return run(ctx, placeholderKeys) }

func run(ctx *pulumi.Context, keysOf keySource) error {
	root, err := projectRoot(ctx.RootDirectory())
	if err != nil {
		return err
	}
	h, facts, err := load(ctx, root, ctx.Stack())
	if err != nil {
		return err
	}
	provider, err := llmhost.NewProvider(ctx, h.Name, providerArgs(h))
	if err != nil {
		return fmt.Errorf("declare the connection to host %q: %w", h.Name, err)
	}
	token, err := modelToken(ctx)
	if err != nil {
		return err
	}
	keys, err := keysOf(ctx, h)
	if err != nil {
		return err
	}
	component, err := host.NewInferenceHost(ctx, host.InferenceHostArgs{Host: h, Facts: facts, ModelToken: token, Keys: keys}, pulumi.Providers(provider))
	if err != nil {
		return err
	}
	ctx.Export("host", pulumi.String(h.Name))
	ctx.Export("servers", component.Servers)
	return nil
}

// modelToken is the stack's secret that opens private models on a hub, nil if it has none.
func modelToken(ctx *pulumi.Context) (pulumi.StringPtrInput, error) {
	const key = "llmhost:modelToken"
	token, ok := ctx.GetConfig(key)
	if !ok || token == "" {
		return nil, nil
	}
	if !ctx.IsConfigSecret(key) {
		return nil, fmt.Errorf("%s is in clear in the stack's settings: set it again with llmhost config set --secret %s, and revoke the one that others may have read", key, key)
	}
	return pulumi.ToSecret(pulumi.StringPtr(token)).(pulumi.StringPtrOutput), nil
}

// projectRoot is the nearest folder at or above dir that holds Pulumi.yaml. The pulumi CLI and
// llmhost differ in whether the root directory that they report is that folder or the one of
// the program below it.
func projectRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the project: %w", err)
	}
	for folder := dir; ; folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "Pulumi.yaml")); err == nil {
			return folder, nil
		}
		if folder == filepath.Dir(folder) {
			return "", fmt.Errorf("no Pulumi.yaml in %s or a folder above it: run this inside an llmhost project", dir)
		}
	}
}

// load reads the host file of a stack and its facts. All faults of the file are in the error, what doesn't fit on the machine
// among them; what stops nothing is logged.
func load(ctx *pulumi.Context, root, stack string) (*hostfile.Host, *hostfile.Facts, error) {
	file := filepath.Join(root, "hosts", stack+hostfile.Extension)
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("stack %q has no host file: write hosts/%s%s", stack, stack, hostfile.Extension)
	}
	h, facts, diags := hostfile.LoadFit(file)
	if diags.HasErrors() {
		return nil, nil, hostfile.AsError(diags)
	}
	for _, d := range diags {
		if err := ctx.Log.Warn(strings.TrimRight((&hostfile.Error{Diagnostics: hcl.Diagnostics{d}}).Error(), "\n"), nil); err != nil {
			return nil, nil, err
		}
	}
	return h, facts, nil
}

// providerArgs says how the host is reached. Its identity is its name and not its address, so
// that a host which moves keeps what is on it.
func providerArgs(h *hostfile.Host) *llmhost.ProviderArgs {
	args := &llmhost.ProviderArgs{HostId: pulumi.String(h.Name)}
	if h.SSH == nil {
		args.Local = pulumi.Bool(true)
		return args
	}
	args.Address = pulumi.String(h.SSH.Address)
	// What the host file leaves out stays out, for the user's own SSH configuration to decide.
	if h.SSH.Port != 0 {
		args.Port = pulumi.Int(h.SSH.Port)
	}
	for value, to := range map[*string]*pulumi.StringPtrInput{
		&h.SSH.User:       &args.User,
		&h.SSH.Identity:   &args.Identity,
		&h.SSH.KnownHosts: &args.KnownHosts,
		&h.SSH.HostKey:    &args.HostKey,
		&h.SSH.Jump:       &args.Jump,
	} {
		if *value != "" {
			*to = pulumi.String(*value)
		}
	}
	return args
}
