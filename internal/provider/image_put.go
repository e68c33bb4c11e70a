package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/imagearchive"
)

// put brings an image to the host, unless it is there.
func (*Image) put(ctx context.Context, in ImageArgs, generation *string) (Recorded, error) {
	h, err := connectToChange(ctx)
	if err != nil {
		return Recorded{}, err
	}
	c, err := claim(ctx, in.id(), generation, false)
	if err != nil {
		return Recorded{}, err
	}
	if !imageByID.MatchString(in.Reference) {
		return pullImage(ctx, h, c)
	}
	seen, err := h.Agent().ObserveImage(ctx, &agentpb.ObserveImageRequest{Id: in.id()})
	if err != nil {
		return Recorded{}, err
	}
	header := &agentpb.ImageHeader{Claim: c, Sha256: in.SHA256, SessionId: h.Session()}
	if seen.GetExists() {
		if header.Sha256 == "" { // nothing is sent, and so nothing is compared
			header.Sha256 = strings.TrimPrefix(in.Reference, "sha256:")
		}
		return sendImage(ctx, h, header, nil)
	}
	src, err := openArchive(in.Source, in.SHA256)
	if err != nil {
		return Recorded{}, err
	}
	defer src.Close()
	progressf(ctx, "looking into the archive")
	if err := holds(in); err != nil {
		return Recorded{}, err
	}
	header.Size = src.size
	return sendImage(ctx, h, header, src)
}

// holds refuses an archive that can't bring the image, before its bytes are sent.
func holds(in ImageArgs) error {
	images, err := imagearchive.ReadFile(in.Source)
	if err != nil {
		return err
	}
	var ids []string
	for _, i := range images {
		ids = append(ids, i.ID)
	}
	switch {
	case len(images) > 1:
		return fmt.Errorf("the archive %s holds %d images (%s): save the one that is wanted", in.Source, len(images), strings.Join(ids, ", "))
	case images[0].ID != in.Reference && images[0].Manifest != in.Reference:
		return fmt.Errorf("the archive %s holds the image %s and not %s: run llmhost pin", in.Source, images[0].ID, in.Reference)
	case in.Runtime == runtimeDocker && !images[0].DockerLoads && images[0].Manifest != in.Reference:
		return fmt.Errorf("the archive %s is an OCI layout, which Docker's own store can't load: convert it with skopeo copy oci-archive:… docker-archive:…, or use runtime = \"quadlet\"", in.Source)
	}
	return nil
}

// sendImage sends a header and then the archive's bytes. Without an archive it sends the header
// alone.
func sendImage(ctx context.Context, h Host, header *agentpb.ImageHeader, src *archive) (Recorded, error) {
	agent, release, err := bulk(ctx, h)
	if err != nil {
		return Recorded{}, err
	}
	defer release()
	stream, err := agent.LoadImage(ctx)
	if err != nil {
		return Recorded{}, err
	}
	err = stream.Send(&agentpb.LoadImageRequest{Part: &agentpb.LoadImageRequest_Header{Header: header}})
	if err == nil && src != nil {
		err = sendBytes(ctx, src, func(data []byte) error {
			return stream.Send(&agentpb.LoadImageRequest{Part: &agentpb.LoadImageRequest_Data{Data: data}})
		})
	}
	if err != nil && !errors.Is(err, io.EOF) { // io.EOF: the agent has answered before the end
		return Recorded{}, err
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		return Recorded{}, err
	}
	return recorded(resp.GetGeneration()), nil
}

// pullImage shows what the runtime says while it fetches an image.
func pullImage(ctx context.Context, h Host, c *agentpb.Claim) (Recorded, error) {
	events, err := h.Agent().PullImage(ctx, &agentpb.PullImageRequest{Claim: c})
	for err == nil {
		var event *agentpb.PullImageEvent
		event, err = events.Recv()
		switch {
		case errors.Is(err, io.EOF):
			err = errors.New("the agent stopped pulling the image without a result")
		case err == nil && event.GetResult() != nil:
			return recorded(event.GetResult().GetGeneration()), nil
		case err == nil && event.GetProgress() != "":
			progressf(ctx, "pulling: %s", event.GetProgress())
		}
	}
	return Recorded{}, err
}
