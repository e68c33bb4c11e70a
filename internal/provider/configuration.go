package provider

import (
	"context"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// configurationPut is a configuration on its way to a host.
type configurationPut struct {
	path, content string
	generation    *string
	adopt         bool
	guarded       bool
	effective     map[string]string
}

// putConfiguration writes a configuration and brings it into force. One that is guarded is
// confirmed, or undone and an error.
func putConfiguration(ctx context.Context, put configurationPut) (Recorded, error) {
	release, err := oneAtATime(ctx, put.guarded)
	if err != nil {
		return Recorded{}, err
	}
	defer release()
	h, err := connectToChange(ctx)
	if err != nil {
		return Recorded{}, err
	}
	c, err := claim(ctx, put.path, put.generation, put.adopt)
	if err != nil {
		return Recorded{}, err
	}
	resp, err := h.Agent().PutConfiguration(ctx, &agentpb.PutConfigurationRequest{
		Claim: c, Content: put.content, Guard: guardOf(put.guarded), Effective: put.effective,
	})
	if err != nil {
		return Recorded{}, err
	}
	if err := confirm(ctx, h, resp.GetGuarded()); err != nil {
		return Recorded{}, err
	}
	return recorded(resp.GetGeneration()), nil
}

// observeConfiguration describes one. It is nil when neither its file nor what it brought into
// force is there.
func observeConfiguration(ctx context.Context, path string, keys ...string) (*agentpb.ConfigurationState, error) {
	h, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	kind := kindOf(operationOf(ctx).urn)
	seen, err := h.Agent().ObserveConfiguration(ctx, &agentpb.ObserveConfigurationRequest{Kind: kind, Path: path, Keys: keys})
	if err != nil {
		return nil, err
	}
	if !seen.GetExists() && (!seen.GetLoaded() || len(keys) > 0) {
		return nil, nil
	}
	return seen, nil
}

// always tells whether a configuration that is guarded by itself still is.
func always(guard *bool) bool { return guard == nil || *guard }

// changesDoc is of the input that holds what was changed by hand.
const changesDoc = "Always empty. What is in force and isn't in the file, or the other way round, shows here as drift: "
