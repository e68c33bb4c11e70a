package agent

import (
	"context"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
	"github.com/llmhost/llmhost/internal/agent/models"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// PutModel receives a model file.
func (s *Server) PutModel(stream grpc.ClientStreamingServer[agentpb.PutModelRequest, agentpb.ChangeResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	header := first.GetHeader()
	if header == nil {
		return fault.New(agentpb.Reason_INVALID, "the first message of a model must be its header")
	}
	st, unlock, err := s.changeByStream(kindModel, header)
	if err != nil {
		return err
	}
	defer unlock()
	want, err := s.attributes(header.GetOwner(), header.GetGroup(), header.GetMode())
	if err != nil {
		return err
	}
	path := header.GetClaim().GetId()
	resp, err := st.putPath(header.GetClaim(), durable.Regular, func(was *durable.Info) (bool, error) {
		if header.GetAttributesOnly() {
			changed, err := st.setModelAttributes(stream.Context(), path, header.GetSha256(), want)
			return changed, fault.OfPath("set the attributes of", path, err)
		}
		return true, fault.OfPath("write", path, st.receiveStream(stream, header, want))
	})
	if err != nil {
		return err
	}
	return stream.SendAndClose(resp)
}

// receiveStream puts a model in place of the one that is there. A running server keeps the old
// one open until it is restarted.
func (st *state) receiveStream(stream grpc.ClientStreamingServer[agentpb.PutModelRequest, agentpb.ChangeResponse], header *agentpb.ModelHeader, want durable.Attributes) error {
	path := header.GetClaim().GetId()
	d, name, err := durable.Parent(path)
	if err != nil {
		return err
	}
	defer d.Close()
	in, err := openIncoming(d, incomingModel(name), header.GetSize())
	if err != nil {
		return err
	}
	defer in.close()
	err = in.receive(header.GetSize(), header.GetSha256(), func() ([]byte, error) {
		msg, err := stream.Recv()
		if msg.GetHeader() != nil {
			err = fault.New(agentpb.Reason_INVALID, "a second header has arrived in the middle of a model")
		}
		return msg.GetData(), err
	})
	if err != nil {
		return err
	}
	if err := in.publish(name, want); err != nil {
		return err
	}
	in.file.Close()
	models.Placed(stream.Context(), st.digests(), path, false, []modelfile.Entry{{SHA256: header.GetSha256()}})
	return nil
}

// incomingModel is the name under which a model arrives.
func incomingModel(name string) string { return "." + name + ".llmhost-stream" }

// setModelAttributes changes a model's attributes after making sure that it is the model that
// is meant.
func (st *state) setModelAttributes(ctx context.Context, path, sha256Hex string, want durable.Attributes) (changed bool, err error) {
	m, err := models.Look(ctx, st.digests(), path, models.Options{Remember: true})
	switch {
	case err != nil:
		return false, err
	case !m.Exists:
		return false, fault.New(agentpb.Reason_DIGEST_MISMATCH, "%s is not on the host", path).With("path", path)
	case m.SHA256 != sha256Hex:
		return false, fault.New(agentpb.Reason_DIGEST_MISMATCH, "%s has the SHA-256 %s and not %s", path, m.SHA256, sha256Hex).With("path", path)
	case m.Has(want):
		return false, nil
	}
	return true, models.Keep(ctx, st.digests(), []string{path}, func() error { return m.SetAttributes(ctx, want, nil) })
}

// removeModel removes a model, what has arrived of another version of it, and what is remembered
// of it.
func (s *Server) removeModel(ctx context.Context, st *state, e *ledger.Entry) (removal, error) {
	want := durable.Regular
	if e.Folder {
		want = durable.Directory
	}
	done, err := st.removePath(e, want, sweepModel, func(d *durable.Dir, name string) (removal, error) {
		return removal{removed: true}, models.Keep(ctx, st.digests(), []string{e.ID}, func() error { return d.Discard(name) })
	})
	if err == nil {
		st.digests().Forget(e.ID)
	}
	return done, err
}

// sweepModel removes what killed agents have left of a model. What a living one is receiving stays.
func sweepModel(d *durable.Dir, name string) error {
	d.Sweep(name)
	err := transfer.RemovePart(d, name)
	if fault.ReasonOf(err) == agentpb.Reason_NOT_OWNED {
		return nil
	}
	return err
}
