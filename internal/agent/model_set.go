package agent

import (
	"context"
	"errors"
	"path"
	"path/filepath"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/models"
	"github.com/llmhost/llmhost/internal/modelfile"
)

// SetModel makes a model of bytes that the host already has. It says so if it hasn't, and has
// changed nothing then.
func (s *Server) SetModel(req *agentpb.SetModelRequest, stream grpc.ServerStreamingServer[agentpb.ModelEvent]) error {
	header := req.GetHeader()
	entries, err := validModel(header)
	if err != nil {
		return err
	}
	st, unlock, err := s.change(kindModel, header.GetClaim())
	if err != nil {
		return err
	}
	defer unlock()
	want, err := s.attributes(header.GetOwner(), header.GetGroup(), header.GetMode())
	if err != nil {
		return err
	}
	at := header.GetClaim().GetId()
	ev := &modelEvents{stream: stream}
	resp, err := st.setModel(stream.Context(), header, at, entries, want, ev)
	var lacking *lackingError
	if errors.As(err, &lacking) {
		return stream.Send(&agentpb.ModelEvent{Lacking: true, Text: lacking.why})
	}
	if err != nil {
		return err
	}
	return stream.Send(&agentpb.ModelEvent{Result: resp})
}

// lackingError says why the bytes that the host has can't be used.
type lackingError struct{ why string }

func (e *lackingError) Error() string { return e.why }

func (st *state) setModel(ctx context.Context, header *agentpb.ModelHeader, at string, entries []modelfile.Entry, want durable.Attributes, ev *modelEvents) (*agentpb.ChangeResponse, error) {
	// The bytes are looked at before anything is claimed.
	m, err := models.Look(ctx, st.digests(), at, models.Options{Progress: ev.progress("hash")})
	if err != nil {
		return nil, fault.OfPath("read", at, err)
	}
	if m.Exists && m.Folder == header.GetFolder() && m.SHA256 == header.GetSha256() {
		return st.putPath(header.GetClaim(), modelType(header), func(*durable.Info) (bool, error) {
			changed, err := st.keepModel(ctx, m, want, ev)
			return changed, fault.OfPath("set the attributes of", at, err)
		})
	}
	var found *models.Found
	if !header.GetAttributesOnly() {
		found = models.Find(st.digests(), at, header.GetFolder(), header.GetSha256(), entries)
	}
	if found == nil {
		return nil, &lackingError{why: lackingBytes(m, header.GetSha256())}
	}
	if err := st.mayReplace(header, at); err != nil {
		return nil, err
	}
	resp, err := st.putPath(header.GetClaim(), modelType(header), func(*durable.Info) (bool, error) {
		return true, fault.OfPath("write", at, found.Place(ctx, st.digests(), at, want, ev.progress("copy")))
	})
	if errors.Is(err, models.ErrOrigin) {
		// Nothing more is expected of it, so that the bytes are sent.
		return nil, &lackingError{why: err.Error()}
	}
	return resp, err
}

func lackingBytes(m *models.Model, sha256Hex string) string {
	switch {
	case !m.Exists:
		return m.Path + " is not on the host"
	case m.Unusable != "":
		return m.Path + " is no model: " + m.Unusable
	default:
		return m.Path + " has the SHA-256 " + m.SHA256 + " and not " + sha256Hex
	}
}

// keepModel sets what differs of a model whose bytes are right, and remembers what they are.
func (st *state) keepModel(ctx context.Context, m *models.Model, want durable.Attributes, ev *modelEvents) (changed bool, err error) {
	m.Remember(st.digests())
	if m.Has(want) {
		return false, nil
	}
	progress := ev.progress("copy")
	var done uint64
	return true, models.Keep(ctx, st.digests(), []string{m.Path}, func() error {
		return m.SetAttributes(ctx, want, func(n uint64) {
			done += n
			progress("", done, m.Size)
		})
	})
}

// validModel refuses what can't be a model, before anything is claimed for it.
func validModel(header *agentpb.ModelHeader) ([]modelfile.Entry, error) {
	if !hexDigest.MatchString(header.GetSha256()) {
		return nil, fault.New(agentpb.Reason_INVALID, "%q is no SHA-256 in lower-case hexadecimal", header.GetSha256())
	}
	if !header.GetFolder() {
		return nil, nil
	}
	var entries []modelfile.Entry
	for _, f := range header.GetFiles() {
		if !filepath.IsLocal(f.GetName()) || path.Clean(f.GetName()) != f.GetName() || f.GetName() == "." {
			return nil, fault.New(agentpb.Reason_INVALID, "%q is no name of a file in a folder", f.GetName())
		}
		if f.GetSha256() == "" {
			return nil, nil // the folder's digest must do
		}
		entries = append(entries, modelfile.Entry{Name: f.GetName(), SHA256: f.GetSha256()})
	}
	return entries, nil
}
