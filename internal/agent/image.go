package agent

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/container"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
)

// imageOf takes an image's id apart: RUNTIME/USER/REFERENCE.
func (s *Server) imageOf(id string) (r *container.Runtime, reference string, err error) {
	parts := strings.SplitN(id, "/", 3)
	if len(parts) != 3 {
		return nil, "", fault.New(agentpb.Reason_INVALID, "%q is no image: write RUNTIME/USER/REFERENCE", id)
	}
	if err := container.ValidReference(parts[2]); err != nil {
		return nil, "", err
	}
	r, err = s.containers.Runtime(parts[0], parts[1])
	return r, parts[2], err
}

// LoadImage receives an archive, checks it, and has a runtime load it.
func (s *Server) LoadImage(stream grpc.ClientStreamingServer[agentpb.LoadImageRequest, agentpb.ChangeResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	header := first.GetHeader()
	if header == nil {
		return fault.New(agentpb.Reason_INVALID, "the first message of an image must be its header")
	}
	st, unlock, err := s.changeByStream(kindImage, header)
	if err != nil {
		return err
	}
	defer unlock()
	resp, err := s.putImage(stream.Context(), st, header.GetClaim(), func(r *container.Runtime, reference string) error {
		if !container.ByID(reference) {
			return fault.New(agentpb.Reason_INVALID, "%s is pulled, and not loaded from an archive", reference)
		}
		return st.loadImage(stream, header, r, reference)
	})
	if err != nil {
		return err
	}
	return stream.SendAndClose(resp)
}

// PullImage has a runtime fetch an image.
func (s *Server) PullImage(req *agentpb.PullImageRequest, stream grpc.ServerStreamingServer[agentpb.PullImageEvent]) error {
	st, unlock, err := s.change(kindImage, req.GetClaim())
	if err != nil {
		return err
	}
	defer unlock()
	resp, err := s.putImage(stream.Context(), st, req.GetClaim(), func(r *container.Runtime, reference string) error {
		if container.ByID(reference) {
			return fault.New(agentpb.Reason_INVALID, "%s is an image's id, by which no registry finds it", reference)
		}
		var spoken time.Time
		return r.Pull(stream.Context(), reference, func(line string) {
			if time.Since(spoken) >= time.Second {
				spoken = time.Now()
				_ = stream.Send(&agentpb.PullImageEvent{Progress: line}) // whoever is gone needs no progress
			}
		})
	})
	if err != nil {
		return err
	}
	return stream.Send(&agentpb.PullImageEvent{Result: resp})
}

// putImage makes the claim of an image and brings it, unless it is there. An image is what its
// digest says, so that one which somebody else has brought is used, and stays when it is no
// longer declared.
func (s *Server) putImage(ctx context.Context, st *state, c *agentpb.Claim, bring func(*container.Runtime, string) error) (*agentpb.ChangeResponse, error) {
	r, reference, err := s.imageOf(c.GetId())
	if err != nil {
		return nil, err
	}
	was, err := r.Image(ctx, reference)
	if err != nil {
		return nil, err
	}
	c = proto.CloneOf(c)
	c.Adopt = true
	claimed, err := st.ledger.Begin(c, was != nil, false, nil)
	if err != nil {
		return nil, err
	}
	if was == nil {
		err = bring(r, reference)
		if err == nil {
			was, err = r.Image(ctx, reference)
		}
		if err == nil && was == nil {
			err = fault.New(agentpb.Reason_DIGEST_MISMATCH, "%s has brought another image than %s", r.Name, reference)
		}
		if err != nil {
			// An entry that stays is incomplete, which the next run handles.
			_ = claimed.Abandon()
			return nil, err
		}
		if err := claimed.Finish(); err != nil {
			return nil, err
		}
		return &agentpb.ChangeResponse{Generation: claimed.Generation, Changed: true}, nil
	}
	return &agentpb.ChangeResponse{Generation: claimed.Generation}, claimed.Finish()
}

// loadImage keeps the archive in the state folder until its digest was checked: a runtime gets
// nothing that wasn't.
func (st *state) loadImage(stream grpc.ClientStreamingServer[agentpb.LoadImageRequest, agentpb.ChangeResponse], header *agentpb.ImageHeader, r *container.Runtime, reference string) error {
	folder := filepath.Join(st.dir, "images")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fault.OfPath("make", folder, err)
	}
	path := filepath.Join(folder, ledger.Key(kindImage, header.GetClaim().GetId())+".part")
	d, name, err := durable.Parent(path)
	if err != nil {
		return fault.OfPath("write", path, err)
	}
	defer d.Close()
	in, err := openIncoming(d, name, header.GetSize())
	if err != nil {
		return fault.OfPath("write", path, err)
	}
	defer in.close()
	err = in.receive(header.GetSize(), header.GetSha256(), func() ([]byte, error) {
		msg, err := stream.Recv()
		if msg.GetHeader() != nil {
			err = fault.New(agentpb.Reason_INVALID, "a second header has arrived in the middle of an image")
		}
		return msg.GetData(), err
	})
	if err == nil {
		_, err = in.file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fault.OfPath("write", path, err)
	}
	return loadAs(stream.Context(), r, in.file, reference)
}

// loadAs loads an archive that has to bring an image. If it doesn't, what it has brought goes.
func loadAs(ctx context.Context, r *container.Runtime, archive *os.File, reference string) error {
	before, err := r.IDs(ctx)
	if err != nil {
		return err
	}
	if err := r.Load(ctx, archive); err != nil {
		return err
	}
	is, err := r.Image(ctx, reference)
	if err != nil || is != nil {
		return err
	}
	after, err := r.IDs(ctx)
	if err != nil {
		return err
	}
	var brought []string
	for _, id := range after {
		if slices.Contains(before, id) {
			continue
		}
		brought = append(brought, id)
		if _, err := r.Remove(ctx, id); err != nil {
			return err
		}
	}
	found := "no image that was not there before"
	if len(brought) > 0 {
		found = strings.Join(brought, ", ")
	}
	return fault.New(agentpb.Reason_DIGEST_MISMATCH, "the archive is as pinned, and %s has found in it %s instead of %s", r.Name, found, reference).
		Hint("pin the image by the id that this runtime gives it: where Docker keeps images in containerd's store, that is the digest of the manifest and not that of the configuration")
}

// ObserveImage says whether a runtime has an image. Without the runtime, or without the user whose
// images they are, there is none.
func (s *Server) ObserveImage(ctx context.Context, req *agentpb.ObserveImageRequest) (*agentpb.ImageState, error) {
	owned, err := s.owned(kindImage, req.GetId())
	if err != nil {
		return nil, err
	}
	resp := &agentpb.ImageState{Owned: owned}
	r, reference, err := s.imageOf(req.GetId())
	if noRuntime(err) {
		return resp, nil
	}
	if err != nil {
		return nil, err
	}
	is, err := r.Image(ctx, reference)
	if err != nil || is == nil {
		return resp, err
	}
	resp.Exists, resp.ImageId, resp.Size, resp.Tags = true, is.ID, is.Size, is.Tags
	return resp, nil
}

// noRuntime reports that what would hold something isn't on the host, and so neither is that.
func noRuntime(err error) bool {
	reason := fault.ReasonOf(err)
	return reason == agentpb.Reason_NO_TOOL || reason == agentpb.Reason_NO_SUCH_USER
}

// removeImage removes an image that llmhost has brought, unless a container uses it or it has
// other names.
func (s *Server) removeImage(ctx context.Context, _ *state, e *ledger.Entry) (removal, error) {
	r, reference, err := s.imageOf(e.ID)
	if noRuntime(err) {
		return removal{}, nil
	}
	if err != nil {
		return removal{}, err
	}
	is, err := r.Image(ctx, reference)
	if err != nil || is == nil {
		return removal{}, err
	}
	kept, err := r.Remove(ctx, reference)
	return removal{removed: kept == "", keptBecause: kept}, err
}
