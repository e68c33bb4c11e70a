package agent

import (
	"context"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
	"github.com/llmhost/llmhost/internal/agent/models"
)

// ObserveModel describes a model. What nothing has touched since it was last hashed isn't read
// again, unless that is asked for.
func (s *Server) ObserveModel(ctx context.Context, req *agentpb.ObserveModelRequest) (*agentpb.ModelState, error) {
	path := req.GetPath()
	owned, known, err := s.knownModel(path)
	if err != nil {
		return nil, err
	}
	m, err := models.Look(ctx, s.use().digests(), path, models.Options{Again: req.GetFull(), Remember: known, Recall: req.GetRecall()})
	if err != nil {
		return nil, fault.OfPath("read", path, err)
	}
	return s.modelState(m, owned)
}

// knownModel looks up whose the model at a path is, and whether llmhost has to do with it at all:
// of anything else nothing is written down.
func (s *Server) knownModel(path string) (owned *agentpb.Owned, known bool, err error) {
	if err := validPath(path); err != nil {
		return nil, false, err
	}
	if owned, err = s.owned(kindModel, path); err != nil {
		return nil, false, err
	}
	record := s.use().digests().Load(path)
	return owned, owned != nil || record != nil && record.Placed, nil
}

// modelState is a model as the protocol shows it.
func (s *Server) modelState(m *models.Model, owned *agentpb.Owned) (*agentpb.ModelState, error) {
	out := &agentpb.ModelState{
		Exists: m.Exists, Size: m.Size, Sha256: m.SHA256, FromCache: m.Remembered, Owned: owned,
		Folder: m.Folder, Verity: m.Verity(), Unusable: m.Unusable,
	}
	if m.Verified != nil {
		out.VerifiedUnix, out.VerifyFailure = m.Verified.Unix, m.Verified.Failure
	}
	if !m.Exists {
		return out, nil
	}
	for _, f := range m.Files {
		out.Files = append(out.Files, &agentpb.ModelFile{Name: f.Name, Size: f.Info.Size, Sha256: f.SHA256})
	}
	var users, groups []uint32
	users, groups, out.Mode = m.Attributes()
	var err error
	if out.Owner, err = nameAll(users, s.accounts.UserName); err != nil {
		return nil, fault.OfPath("read", "the list of users", err)
	}
	if out.Group, err = nameAll(groups, s.accounts.GroupName); err != nil {
		return nil, fault.OfPath("read", "the list of groups", err)
	}
	return out, nil
}

func nameAll(numbers []uint32, name func(uint32) (string, error)) (string, error) {
	var names []string
	for _, n := range numbers {
		one, err := name(n)
		if err != nil {
			return "", err
		}
		names = append(names, one)
	}
	return strings.Join(names, ", "), nil
}

// VerifyModel reads a whole model again and says whether it is as it should be.
func (s *Server) VerifyModel(req *agentpb.VerifyModelRequest, stream grpc.ServerStreamingServer[agentpb.ModelEvent]) error {
	path := req.GetPath()
	owned, known, err := s.knownModel(path)
	if err != nil {
		return err
	}
	if req.GetSha256() != "" && !hexDigest.MatchString(req.GetSha256()) {
		return fault.New(agentpb.Reason_INVALID, "%q is no SHA-256 in lower-case hexadecimal", req.GetSha256())
	}
	ev := &modelEvents{stream: stream}
	m, err := models.Verify(stream.Context(), s.use().digests(), path, models.VerifyOptions{
		Want: req.GetSha256(), Remember: known, Progress: ev.progress("verify"),
	})
	if err != nil {
		return fault.OfPath("verify", path, err)
	}
	state, err := s.modelState(m, owned)
	if err != nil {
		return err
	}
	return stream.Send(&agentpb.ModelEvent{DoneBytes: m.Size, TotalBytes: m.Size, State: state})
}

// eventsEvery is how often a long call says how far it is.
const eventsEvery = 250 * time.Millisecond

// modelEvents says how far a call is.
type modelEvents struct {
	stream grpc.ServerStreamingServer[agentpb.ModelEvent]
	last   time.Time
}

// progress returns what is called for every piece, often.
func (e *modelEvents) progress(doing string) func(file string, done, total uint64) {
	return func(file string, done, total uint64) {
		if time.Since(e.last) < eventsEvery {
			return
		}
		e.last = time.Now()
		// That nobody listens any more is noticed by the call's context.
		_ = e.stream.Send(&agentpb.ModelEvent{DoneBytes: done, TotalBytes: total, Text: strings.TrimSpace(doing + " " + file)})
	}
}

// ListModels lists the models in folders and all that the ledger knows.
func (s *Server) ListModels(ctx context.Context, req *agentpb.ListModelsRequest) (*agentpb.ListModelsResponse, error) {
	listed, owners, err := s.listModels(ctx, req.GetFolders())
	if err != nil {
		return nil, err
	}
	resp := &agentpb.ListModelsResponse{}
	for _, l := range listed {
		state, err := s.modelState(l.Model, owners[l.Path].Proto())
		if err != nil {
			return nil, err
		}
		resp.Models = append(resp.Models, &agentpb.ListedModel{
			Path: l.Path, State: state, UsedBy: l.UsedBy, Partial: l.Partial, ChangedUnix: l.Changed,
			DiskBytes: l.Disk, SameAs: l.SameAs, Placed: l.Placed || owners[l.Path] != nil, ArrivedBytes: l.Arrived,
		})
	}
	return resp, nil
}

func (s *Server) listModels(ctx context.Context, folders []string) ([]*models.Listed, map[string]*ledger.Entry, error) {
	for _, folder := range folders {
		if err := validPath(folder); err != nil {
			return nil, nil, err
		}
	}
	st := s.use()
	entries, err := st.ledger.List()
	if err != nil {
		return nil, nil, err
	}
	owners := map[string]*ledger.Entry{}
	var paths []string
	for _, e := range entries {
		if e.Kind == kindModel {
			owners[e.ID] = e
			paths = append(paths, e.ID)
		}
	}
	listed, err := models.List(ctx, st.digests(), folders, paths)
	return listed, owners, fault.OfPath("look at", strings.Join(folders, ", "), err)
}

// readSize is how much of a model goes into one message, in bytes.
const readSize = 1 << 20

// ReadModel returns bytes of one of a model's files.
func (s *Server) ReadModel(req *agentpb.ReadModelRequest, stream grpc.ServerStreamingServer[agentpb.ReadModelResponse]) error {
	path := req.GetPath()
	if err := validPath(path); err != nil {
		return err
	}
	f, is, err := openModelFile(path, req.GetName())
	if err != nil {
		return fault.OfPath("read", path, err)
	}
	defer f.Close()
	end := is.Size
	if req.GetOffset() > end || req.GetLength() > end-req.GetOffset() {
		return fault.New(agentpb.Reason_INVALID, "%s has %d bytes, and %d from offset %d were asked for", path, end, req.GetLength(), req.GetOffset()).With("path", path)
	}
	if req.GetLength() > 0 {
		end = req.GetOffset() + req.GetLength()
	}
	buf := make([]byte, min(readSize, end-req.GetOffset()))
	for at := req.GetOffset(); at < end; {
		if err := stream.Context().Err(); err != nil {
			return err
		}
		n, err := f.ReadAt(buf[:min(uint64(len(buf)), end-at)], int64(at))
		if n > 0 {
			at += uint64(n)
			if err := stream.Send(&agentpb.ReadModelResponse{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if err == io.EOF && at < end {
			return fault.New(agentpb.Reason_REASON_UNSPECIFIED, "%s has become shorter while it was read", path).With("path", path)
		}
		if err != nil && err != io.EOF {
			return fault.OfPath("read", path, err)
		}
	}
	return nil
}

// openModelFile opens a file of a model; name is empty for a model that is a single file.
func openModelFile(path, name string) (*os.File, *durable.Info, error) {
	d, base, err := durable.Parent(path)
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	if name == "" {
		return d.OpenFile(base)
	}
	root, err := d.OpenFolder(base)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	return root.OpenBelow(name)
}
