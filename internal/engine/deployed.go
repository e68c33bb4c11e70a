package engine

import (
	"context"
	"fmt"

	"github.com/pulumi/pulumi/pkg/v3/backend/secrets"
	"github.com/pulumi/pulumi/sdk/v3/go/common/providers"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"github.com/llmhost/llmhost/internal/drift"
)

// ProjectName is the name of the project whose state is open.
func (e *Engine) ProjectName() string { return e.project.Name.String() }

// Deployed lists what the state of a stack says is on its host, with what a killed run may have
// left there. Nobody but the state is asked.
func (e *Engine) Deployed(ctx context.Context, stackName string) ([]drift.Resource, error) {
	stack, err := e.required(ctx, stackName)
	if err != nil {
		return nil, err
	}
	snapshot, err := stack.Snapshot(ctx, secrets.DefaultProvider)
	if err != nil {
		return nil, fmt.Errorf("reading the state of stack %s: %w", stackName, err)
	}
	if snapshot == nil {
		return nil, nil
	}
	var list []drift.Resource
	add := func(r *resource.State, id string) {
		if r.Custom && id != "" && !providers.IsProviderType(r.Type) {
			list = append(list, drift.Resource{URN: string(r.URN), Type: string(r.Type), Name: r.URN.Name(), ID: id})
		}
	}
	for _, r := range snapshot.Resources {
		add(r, string(r.ID))
	}
	for _, op := range snapshot.PendingOperations {
		id := string(op.Resource.ID)
		if id == "" && e.config.PendingID != nil {
			id, _ = e.config.PendingID(string(op.Resource.Type), op.Resource.Inputs)
		}
		add(op.Resource, id)
	}
	return list, nil
}
