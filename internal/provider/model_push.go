package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// put brings the model to the host. A push that was cut off after the agent had written its
// claim gives an infer.ResourceInitFailedError and the claim's generation, so that the next
// run goes on as the same owner, and a deletion leaves no claim behind.
func (m *Model) put(ctx context.Context, in ModelArgs, generation *string) (Recorded, error) {
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
	rec, err := sendModel(ctx, h, header, src)
	if err == nil {
		return rec, nil
	}
	if claimed := m.claimedGeneration(ctx, h, in.Path); claimed != nil && generation == nil {
		return Recorded{Generation: claimed}, infer.ResourceInitFailedError{Reasons: []string{
			fmt.Sprintf("the push of %s did not end, and nothing of it is on the host: %v", in.Source, err),
		}}
	}
	return Recorded{}, err
}

func sendModel(ctx context.Context, h Host, header *agentpb.ModelHeader, src *source) (Recorded, error) {
	agent, channel, err := h.Bulk(ctx)
	if err != nil {
		return Recorded{}, err
	}
	defer channel.Close()
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

// claimedGeneration looks up the claim that a failed push has left. The push may have failed
// because it was cancelled, so the question has its own few seconds.
func (*Model) claimedGeneration(ctx context.Context, h Host, path string) *string {
	ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	owned, err := h.Agent().ListOwned(ask, &agentpb.ListOwnedRequest{Stack: stackOf(operationOf(ctx).urn)})
	if err != nil {
		return nil // without an answer there is nothing to save; the next create finds its own claim
	}
	for _, o := range owned.GetOwned() {
		if o.GetKind() == "Model" && o.GetId() == path {
			return ownGeneration(ctx, o)
		}
	}
	return nil
}
