// Package render shows what a program would place on a host, without a host.
//
// It exists so that an operator can read, compare and review the very text that a deployment
// would write: it runs the same program as a deployment does, under Pulumi's mocks, and keeps
// what the program declares.
package render

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Resource is what a program declared.
type Resource struct {
	Type   string
	Name   string
	Parent string // URN; empty for the stack's own
	// Provider is the reference of the provider that the program chose. Empty is the default
	// provider, which llmhost's resources never use.
	Provider  string
	DependsOn []string // URNs, sorted
	Retain    bool     // kept on the host when it is no longer declared
	Inputs    resource.PropertyMap
}

// Program runs a program for a stack of the project in root and returns what it declared, by
// type and name. Nothing is contacted and nothing is written.
func Program(program pulumi.RunFunc, root, project, stack string) ([]Resource, error) {
	rec := &recorder{}
	var failed error
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		failed = program(ctx)
		return failed
	}, pulumi.WithMocks(project, stack, rec), func(info *pulumi.RunInfo) {
		info.RootDirectory = root
		// As in a preview: a program that waits for what only a deployment knows is found here.
		info.DryRun = true
	})
	if failed != nil {
		return nil, failed // as the program wrote it, without Pulumi's frame around it
	}
	if err != nil {
		return nil, fmt.Errorf("run the program of stack %q: %w", stack, err)
	}
	slices.SortFunc(rec.resources, func(a, b Resource) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Parent, b.Parent))
	})
	return rec.resources, nil
}

// recorder answers for the engine. Programs register resources concurrently.
type recorder struct {
	mu        sync.Mutex
	resources []Resource
}

var _ pulumi.MockResourceMonitor = (*recorder)(nil)

func (r *recorder) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	rpc := args.RegisterRPC
	if rpc == nil {
		return "", nil, fmt.Errorf("%s %q is read from the host, so it can't be rendered without one", args.TypeToken, args.Name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resources = append(r.resources, Resource{
		Type:      args.TypeToken,
		Name:      args.Name,
		Parent:    rpc.GetParent(),
		Provider:  args.Provider,
		DependsOn: slices.Sorted(slices.Values(rpc.GetDependencies())),
		Retain:    rpc.GetRetainOnDelete(),
		Inputs:    args.Inputs,
	})
	// A preview knows no ID and no output.
	return "", resource.PropertyMap{}, nil
}

func (r *recorder) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return nil, fmt.Errorf("%s asks a provider, so it can't be rendered without a host", args.Token)
}
