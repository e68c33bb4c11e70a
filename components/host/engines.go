package host

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// declareEngines places each engine once: two engine blocks that name the same bytes are one on
// the host. An image is placed by what runs it.
//
// Another archive and another requirements file are a new resource with a folder of its own, which
// is made before the servers are switched to it; the old one is deleted last of all, when Pulumi
// has seen every server run without it. A package has one place on the host and is changed there.
func (c *InferenceHost) declareEngines(ctx *pulumi.Context, h *hostfile.Host) error {
	for i := range h.Engines {
		e := &h.Engines[i]
		if e.Form() == hostfile.FormImage || c.engines[e.Identity()] != nil {
			continue
		}
		resources, err := c.declareEngine(ctx, e)
		if err != nil {
			return fmt.Errorf("declare engine %q: %w", e.Name, err)
		}
		c.engines[e.Identity()] = resources
	}
	return nil
}

func (c *InferenceHost) declareEngine(ctx *pulumi.Context, e *hostfile.Engine) ([]pulumi.Resource, error) {
	if e.Form() == hostfile.FormArchive {
		engine, err := llmhost.NewEngine(ctx, e.Name, &llmhost.EngineArgs{
			Root:   pulumi.String(inference.EnginesRoot),
			Source: pulumi.String(e.Source),
			Sha256: pulumi.String(e.SHA256),
		}, pulumi.Parent(c))
		return []pulumi.Resource{engine}, err
	}
	if c.engineRoot == nil {
		root, err := llmhost.NewEngineRoot(ctx, engineRootName, &llmhost.EngineRootArgs{Path: pulumi.String(inference.SharedRoot)}, pulumi.Parent(c))
		if err != nil {
			return nil, err
		}
		c.engineRoot = root
	}
	if e.Form() == hostfile.FormPackage {
		p, err := c.declarePackage(ctx, e.Package, e.Version)
		return []pulumi.Resource{c.engineRoot, p}, err
	}
	venv, err := llmhost.NewVenv(ctx, e.Name, &llmhost.VenvArgs{
		Root:         pulumi.String(inference.VenvsRoot),
		Sha256:       pulumi.String(e.Identity()),
		Requirements: pulumi.String(e.RequirementsText),
		Indexes:      pulumi.ToStringArray(e.Indexes),
		EngineRoot:   pulumi.String(inference.SharedRoot),
	}, pulumi.Parent(c), pulumi.DependsOn([]pulumi.Resource{c.engineRoot}))
	return []pulumi.Resource{c.engineRoot, venv}, err
}

// declarePackage declares a package once, under its own name. One whose version is written is kept
// from the host's own upgrades.
func (c *InferenceHost) declarePackage(ctx *pulumi.Context, name, version string) (pulumi.Resource, error) {
	if p := c.packages[name]; p != nil {
		return p, nil
	}
	p, err := llmhost.NewPackage(ctx, name, &llmhost.PackageArgs{
		Name:           pulumi.String(name),
		PackageVersion: pulumi.String(version),
		Hold:           pulumi.Bool(version != ""),
	}, pulumi.Parent(c))
	if err == nil {
		c.packages[name] = p
	}
	return p, err
}
