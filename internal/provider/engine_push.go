package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// put brings the engine's archive to the host, where the agent unpacks it. A folder that is as
// it was unpacked needs no bytes, and so no source.
func (*Engine) put(ctx context.Context, in EngineArgs, generation *string) (Recorded, error) {
	h, err := connectToChange(ctx)
	if err != nil {
		return Recorded{}, err
	}
	c, err := claim(ctx, in.path(), generation, in.Adopt)
	if err != nil {
		return Recorded{}, err
	}
	seen, err := h.Agent().ObserveEngine(ctx, &agentpb.ObserveEngineRequest{Path: in.path()})
	if err != nil {
		return Recorded{}, err
	}
	header := &agentpb.EngineHeader{Claim: c, Sha256: in.SHA256, SessionId: h.Session()}
	if seen.GetExists() && seen.GetSha256() == in.SHA256 && len(seen.GetModifiedFiles()) == 0 {
		return sendEngine(ctx, h, header, nil)
	}
	src, err := openSource(in.Source, in.SHA256)
	if err != nil {
		return Recorded{}, err
	}
	defer src.Close()
	header.Size = src.size
	if header.Format, err = archiveFormat(in.Source); err != nil {
		return Recorded{}, err
	}
	return sendEngine(ctx, h, header, src)
}

func sendEngine(ctx context.Context, h Host, header *agentpb.EngineHeader, src *source) (Recorded, error) {
	agent, release, err := bulk(ctx, h)
	if err != nil {
		return Recorded{}, err
	}
	defer release()
	stream, err := agent.PutEngine(ctx)
	if err != nil {
		return Recorded{}, err
	}
	resp, err := push(ctx, stream, src,
		&agentpb.PutEngineRequest{Part: &agentpb.PutEngineRequest_Header{Header: header}},
		func(b []byte) *agentpb.PutEngineRequest {
			return &agentpb.PutEngineRequest{Part: &agentpb.PutEngineRequest_Data{Data: b}}
		})
	if err != nil {
		return Recorded{}, err
	}
	return recorded(resp.GetGeneration()), nil
}

// archiveFormat is the protocol's name for an archive's format, which its file name tells.
func archiveFormat(source string) (string, error) {
	for _, format := range []string{"tar", "tar.gz", "tar.zst"} {
		if strings.HasSuffix(source, "."+format) {
			return format, nil
		}
	}
	return "", fmt.Errorf("must be a .tar, .tar.gz or .tar.zst archive, not %q", source)
}
