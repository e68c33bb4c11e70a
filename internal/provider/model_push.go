package provider

import (
	"context"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// put brings the model to the host, or only its attributes if the host has these very bytes.
func (*Model) put(ctx context.Context, in ModelArgs, generation *string) (Recorded, error) {
	mode, err := parseMode(in.Mode)
	if err != nil {
		return Recorded{}, err
	}
	h, err := connectToChange(ctx)
	if err != nil {
		return Recorded{}, err
	}
	c, err := claim(ctx, in.Path, generation, in.Adopt)
	if err != nil {
		return Recorded{}, err
	}
	seen, err := h.Agent().ObserveModel(ctx, &agentpb.ObserveModelRequest{Path: in.Path})
	if err != nil {
		return Recorded{}, err
	}
	header := &agentpb.ModelHeader{
		Claim: c, Sha256: in.SHA256, Mode: mode, Owner: in.Owner, Group: in.Group, SessionId: h.Session(),
	}
	if seen.GetExists() && seen.GetSha256() == in.SHA256 {
		header.Size, header.AttributesOnly = seen.GetSize(), true
		return sendModel(ctx, h, header, nil)
	}
	src, err := openSource(in.Source, in.SHA256)
	if err != nil {
		return Recorded{}, err
	}
	defer src.Close()
	header.Size = src.size
	return sendModel(ctx, h, header, src)
}

func sendModel(ctx context.Context, h Host, header *agentpb.ModelHeader, src *source) (Recorded, error) {
	agent, release, err := bulk(ctx, h)
	if err != nil {
		return Recorded{}, err
	}
	defer release()
	stream, err := agent.PutModel(ctx)
	if err != nil {
		return Recorded{}, err
	}
	resp, err := push(ctx, stream, src,
		&agentpb.PutModelRequest{Part: &agentpb.PutModelRequest_Header{Header: header}},
		func(b []byte) *agentpb.PutModelRequest {
			return &agentpb.PutModelRequest{Part: &agentpb.PutModelRequest_Data{Data: b}}
		})
	if err != nil {
		return Recorded{}, err
	}
	return recorded(resp.GetGeneration()), nil
}
