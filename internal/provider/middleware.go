package provider

import (
	"context"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// wrap puts around infer's provider what infer lacks: the configuration's own diff, the
// operation's URN, a state that can grow, and errors for people.
func wrap(inner p.Provider, i *instance) p.Provider {
	m := &middleware{inner: inner, instance: i, shapes: newShapes(inner)}
	out := inner
	out.CheckConfig = checkConfig
	out.DiffConfig = diffConfig
	out.Configure = m.configure
	out.Check = m.check
	out.Diff = m.diff
	out.Create = m.create
	out.Read = m.read
	out.Update = m.update
	out.Delete = m.delete
	return out
}

type middleware struct {
	inner    p.Provider
	instance *instance
	shapes   *shapes
}

// configure remembers the host. It doesn't dial: a preview may never need it.
func (m *middleware) configure(ctx context.Context, req p.ConfigureRequest) error {
	c, err := decodeConfig(ctx, req.Args)
	if err != nil {
		return err
	}
	t := c.target()
	m.instance.target.Store(&t)
	return nil
}

func (m *middleware) operation(ctx context.Context, urn resource.URN, dryRun bool) context.Context {
	return withOperation(ctx, &operation{instance: m.instance, urn: urn, dryRun: dryRun})
}

func (m *middleware) check(ctx context.Context, req p.CheckRequest) (p.CheckResponse, error) {
	resp, err := m.inner.Check(m.operation(ctx, req.Urn, true), req)
	if err != nil {
		return p.CheckResponse{}, explain(req.Urn, "", err)
	}
	resp.Inputs = keepUnknown(resp.Inputs, req.Inputs)
	return resp, nil
}

// diff never asks for a deletion before a replacement. Where the ID changes, both can exist.
// Where a user forces the replacement of the same ID, the engine doesn't ask at all
// (up --replace) or the new one has taken over the ledger's entry when the deletion of the
// old one comes, so that it carries an old generation and removes nothing.
func (m *middleware) diff(ctx context.Context, req p.DiffRequest) (p.DiffResponse, error) {
	k := kinds[kindOf(req.Urn)]
	state, err := m.readable(req.Urn, req.ID, req.State)
	if err != nil {
		return p.DiffResponse{}, err
	}
	shape := m.shapes.of(req.Urn)
	req.State = state
	// Both sides can be old: a refresh compares what Read found with the inputs in state.
	req.OldInputs = shape.inputs.fit(req.OldInputs, computed(req.Urn, req.ID, req.OldInputs))
	req.Inputs = shape.inputs.fit(req.Inputs, computed(req.Urn, req.ID, req.Inputs))
	for _, key := range k.noDiff {
		req.State, req.OldInputs, req.Inputs = req.State.Delete(key), req.OldInputs.Delete(key), req.Inputs.Delete(key)
	}
	resp, err := m.inner.Diff(m.operation(ctx, req.Urn, true), req)
	if err != nil {
		return p.DiffResponse{}, explain(req.Urn, req.ID, err)
	}
	return resp, nil
}

func (m *middleware) create(ctx context.Context, req p.CreateRequest) (p.CreateResponse, error) {
	ctx = m.operation(ctx, req.Urn, req.DryRun)
	id, _ := kinds[kindOf(req.Urn)].id(req.Properties)
	before := beginningOf(ctx, id)
	resp, err := m.inner.Create(ctx, req)
	if err != nil && resp.PartialState == nil {
		err = explain(req.Urn, id, err)
		generation := before.left(ctx)
		if generation == nil {
			return p.CreateResponse{}, err
		}
		resp = p.CreateResponse{
			ID:           id,
			Properties:   req.Properties.Set("generation", property.New(*generation)),
			PartialState: &p.InitializationFailed{Reasons: []string{err.Error()}},
		}
	}
	if req.DryRun {
		resp.Properties = keepUnknown(resp.Properties, req.Properties)
	}
	resp.Properties = m.stamp(req.Urn, resp.Properties)
	return resp, err
}

func (m *middleware) update(ctx context.Context, req p.UpdateRequest) (p.UpdateResponse, error) {
	state, err := m.readable(req.Urn, req.ID, req.State)
	if err != nil {
		return p.UpdateResponse{}, err
	}
	req.State = state
	resp, err := m.inner.Update(m.operation(ctx, req.Urn, req.DryRun), req)
	if err != nil && resp.PartialState == nil {
		return p.UpdateResponse{}, explain(req.Urn, req.ID, err)
	}
	if req.DryRun {
		resp.Properties = keepUnknown(resp.Properties, req.Inputs)
	}
	resp.Properties = m.stamp(req.Urn, resp.Properties)
	return resp, err
}

func (m *middleware) read(ctx context.Context, req p.ReadRequest) (p.ReadResponse, error) {
	shape := m.shapes.of(req.Urn)
	if req.Inputs.Len() > 0 { // an import knows the ID alone
		req.Inputs = shape.inputs.fit(req.Inputs, computed(req.Urn, req.ID, req.Inputs))
	}
	if req.Properties.Len() > 0 {
		state, err := m.readable(req.Urn, req.ID, req.Properties)
		if err != nil {
			return p.ReadResponse{}, err
		}
		req.Properties = state
	}
	resp, err := m.inner.Read(m.operation(ctx, req.Urn, false), req)
	if err != nil && resp.PartialState == nil {
		return p.ReadResponse{}, explain(req.Urn, req.ID, err)
	}
	if resp.ID == "" {
		return p.ReadResponse{}, nil
	}
	resp.Inputs = shape.inputs.secure(resp.Inputs)
	resp.Properties = m.stamp(req.Urn, resp.Properties)
	return resp, err
}

func (m *middleware) delete(ctx context.Context, req p.DeleteRequest) error {
	state, err := m.readable(req.Urn, req.ID, req.Properties)
	if err != nil {
		return err
	}
	req.Properties = state
	if err := m.inner.Delete(m.operation(ctx, req.Urn, false), req); err != nil {
		return explain(req.Urn, req.ID, err)
	}
	return nil
}

// readable makes a state fit this version's types, or says which version it needs.
func (m *middleware) readable(urn resource.URN, id string, state property.Map) (property.Map, error) {
	if err := refuseNewer(urn, id, state); err != nil {
		return property.Map{}, err
	}
	known := m.shapes.of(urn).natural(kinds[kindOf(urn)], id)
	for name, v := range computed(urn, id, state).All {
		known = known.Set(name, v)
	}
	return m.shapes.of(urn).outputs.fit(state, known), nil
}

// computed are the properties that follow from others, which an older llmhost didn't write.
func computed(urn resource.URN, id string, properties property.Map) property.Map {
	if kindOf(urn) != "SystemdUnit" {
		return property.Map{}
	}
	return computedExposure(id, properties)
}

// stamp marks what must be secret and notes which version has written the state.
func (m *middleware) stamp(urn resource.URN, state property.Map) property.Map {
	return m.shapes.of(urn).outputs.secure(state).Set(versionKey, property.New(Version))
}
