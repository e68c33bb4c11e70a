// Package files is a program for the interop tests: some resources on this machine, below a
// folder that the stack's settings name.
package files

import (
	"fmt"
	"path/filepath"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// Run declares a folder, a file and a file with a secret in it. Settings: dir, state, owner,
// group, content, and the secret.
func Run(ctx *pulumi.Context) error {
	settings := map[string]string{}
	for _, name := range []string{"dir", "state", "owner", "group", "content", "secret"} {
		value, ok := ctx.GetConfig(ctx.Project() + ":" + name)
		if !ok {
			return fmt.Errorf("the setting %s is missing", name)
		}
		settings[name] = value
	}
	dir := settings["dir"]
	provider, err := llmhost.NewProvider(ctx, "machine", &llmhost.ProviderArgs{
		HostId: pulumi.String("machine"), Local: pulumi.Bool(true), StateDir: pulumi.String(settings["state"]),
	})
	if err != nil {
		return err
	}
	owner, group := pulumi.String(settings["owner"]), pulumi.String(settings["group"])
	folder, err := llmhost.NewDirectory(ctx, "folder", &llmhost.DirectoryArgs{
		Path: pulumi.String(filepath.Join(dir, "folder")), Mode: pulumi.String("0750"), Owner: owner, Group: group,
	}, pulumi.Provider(provider))
	if err != nil {
		return err
	}
	for name, args := range map[string]*llmhost.FileArgs{
		"plain":  {Content: pulumi.String(settings["content"])},
		"secret": {SecretContent: pulumi.ToSecret(pulumi.String(settings["secret"])).(pulumi.StringOutput)},
	} {
		args.Path = pulumi.String(filepath.Join(dir, "folder", name))
		args.Mode, args.Owner, args.Group = pulumi.String("0640"), owner, group
		if _, err := llmhost.NewFile(ctx, name, args, pulumi.Provider(provider), pulumi.DependsOn([]pulumi.Resource{folder})); err != nil {
			return err
		}
	}
	ctx.Export("content", pulumi.String(settings["content"]))
	return nil
}
