package agent

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
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
		return true, fault.OfPath("write", path, st.receiveModel(stream, header, want))
	})
	if err != nil {
		return err
	}
	return stream.SendAndClose(resp)
}

// receiveModel puts a model in place of the one that is there. A running server keeps the old
// one open until it is restarted.
func (st *state) receiveModel(stream grpc.ClientStreamingServer[agentpb.PutModelRequest, agentpb.ChangeResponse], header *agentpb.ModelHeader, want durable.Attributes) error {
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
	is, err := durable.InfoOf(in.file)
	if err != nil {
		return err
	}
	st.digests().Store(path, is.Identity, header.GetSha256())
	return nil
}

// incomingModel is the name under which a model arrives.
func incomingModel(name string) string { return "." + name + ".llmhost-part" }

// setModelAttributes changes a model's attributes after making sure that it is the model that
// is meant.
func (st *state) setModelAttributes(ctx context.Context, path, sha256Hex string, want durable.Attributes) (changed bool, err error) {
	d, name, err := durable.Parent(path)
	if err != nil {
		return false, err
	}
	defer d.Close()
	f, is, err := d.OpenFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, fault.New(agentpb.Reason_DIGEST_MISMATCH, "%s is not on the host", path).With("path", path)
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	sum, known := st.digests().Find(path, is.Identity)
	if !known {
		if sum, _, err = digest.Of(ctx, f); err != nil {
			return false, err
		}
	}
	if sum != sha256Hex {
		return false, fault.New(agentpb.Reason_DIGEST_MISMATCH, "%s has the SHA-256 %s and not %s", path, sum, sha256Hex).With("path", path)
	}
	if changed = !is.Matches(want); changed {
		if err := want.SetOn(f); err != nil {
			return false, err
		}
		if err := f.Sync(); err != nil {
			return false, err
		}
		if is, err = durable.InfoOf(f); err != nil {
			return false, err
		}
	}
	st.digests().Store(path, is.Identity, sum)
	return changed, nil
}

// ObserveModel describes a model. A file that nothing has touched since it was last hashed
// isn't read again, unless that is asked for.
func (s *Server) ObserveModel(ctx context.Context, req *agentpb.ObserveModelRequest) (*agentpb.ModelState, error) {
	path := req.GetPath()
	if err := validPath(path); err != nil {
		return nil, err
	}
	st := s.use()
	owned, err := s.owned(kindModel, path)
	if err != nil {
		return nil, err
	}
	resp := &agentpb.ModelState{Owned: owned}
	d, name, err := durable.Parent(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return resp, nil
	}
	if err != nil {
		return nil, fault.OfPath("look at", path, err)
	}
	defer d.Close()
	is, err := d.Lstat(name)
	if err != nil {
		return nil, fault.OfPath("look at", path, err)
	}
	if is == nil {
		return resp, nil
	}
	resp.Exists, resp.Size, resp.Mode = true, is.Size, is.Mode
	if resp.Owner, resp.Group, err = s.names(is); err != nil {
		return nil, err
	}
	if is.Type != durable.Regular { // whatever it is, it hasn't the digest of a model
		return resp, nil
	}
	if !req.GetFull() {
		if resp.Sha256, resp.FromCache = st.digests().Find(path, is.Identity); resp.FromCache {
			return resp, nil
		}
	}
	resp.Sha256, err = st.hashModel(ctx, d, name, path, owned != nil)
	return resp, fault.OfPath("read", path, err)
}

// hashModel reads a model. The digest of one that llmhost has put there is remembered, if the
// file was not changed meanwhile.
func (st *state) hashModel(ctx context.Context, d *durable.Dir, name, path string, remember bool) (string, error) {
	f, before, err := d.OpenFile(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum, _, err := digest.Of(ctx, f)
	if err != nil {
		return "", err
	}
	after, err := durable.InfoOf(f)
	if err != nil {
		return "", err
	}
	if remember && before.Identity == after.Identity {
		st.digests().Store(path, after.Identity, sum)
	}
	return sum, nil
}

// removeModel removes a model and what is remembered of it.
func (s *Server) removeModel(_ context.Context, st *state, e *ledger.Entry) (removal, error) {
	sweep := func(d *durable.Dir, name string) error { return sweepIncoming(d, incomingModel(name)) }
	done, err := st.removePath(e, durable.Regular, sweep, func(d *durable.Dir, name string) (removal, error) {
		return removal{removed: true}, d.Remove(name)
	})
	if err == nil {
		st.digests().Forget(e.ID)
	}
	return done, err
}
