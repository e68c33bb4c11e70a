package agent

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/models"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// ServeLane receives a model over a pipe, and closes it. An error that the client was told is
// none, nor is the end of the pipe.
func (s *Server) ServeLane(ctx context.Context, rwc io.ReadWriteCloser) error {
	in, err := transfer.Accept(ctx, rwc, s.options.Idle)
	if err != nil {
		return laneError(err)
	}
	defer in.Close()
	serve := s.receive
	if in.Open.GetJoin() != "" {
		serve = (*transfer.Incoming).Join
	}
	if err := serve(in); err != nil {
		if cause := context.Cause(in.Context()); cause != nil && laneError(cause) == nil {
			return nil // nobody is there to be told
		}
		_ = in.Fail(err)
		return nil
	}
	return nil
}

// laneError is what is wrong with the end of a lane: nothing, if the client has ended it.
func laneError(err error) error {
	switch {
	case errors.Is(err, transfer.ErrIdle):
		return ErrIdle
	case errors.Is(err, transfer.ErrCut), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil
	}
	return err
}

// receive puts the model that comes by a lane in place.
func (s *Server) receive(in *transfer.Incoming) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.panicked("the push of a model", r, debug.Stack())
		}
	}()
	if dir := in.Open.GetStateDir(); dir != "" {
		if err := s.useDir(dir); err != nil {
			return err
		}
	}
	header := in.Open.GetHeader()
	if header == nil {
		return fault.New(agentpb.Reason_INVALID, "a push must begin with its header")
	}
	if header.GetClaim() == nil {
		return s.receiveUnowned(in, header)
	}
	want, err := s.attributes(header.GetOwner(), header.GetGroup(), header.GetMode())
	if err != nil {
		return err
	}
	st, unlock, err := s.changeByStream(kindModel, header)
	if err != nil {
		return err
	}
	defer unlock()
	path := header.GetClaim().GetId()
	if err := st.mayReplace(header, path); err != nil {
		return err
	}
	var received *transfer.Received
	resp, err := st.putPath(header.GetClaim(), modelType(header), func(*durable.Info) (bool, error) {
		var err error
		received, err = st.receiveModel(in, path, want)
		return true, fault.OfPath("write", path, err)
	})
	if err != nil {
		return err
	}
	return in.Done(resp, received)
}

// mayReplace refuses to put other bytes in place of a folder that llmhost doesn't know, also one that
// may be adopted: with it would go all that is in it. It is asked before the claim is made, which a
// second attempt would find.
func (st *state) mayReplace(header *agentpb.ModelHeader, path string) error {
	if !header.GetFolder() {
		return nil
	}
	is, err := durable.Lstat(path)
	if err != nil {
		return fault.OfPath("look at", path, err)
	}
	before, err := st.ledger.Find(kindModel, path)
	if err != nil || is == nil || before != nil {
		return err
	}
	return fault.New(agentpb.Reason_NOT_OWNED, "the folder %s exists and isn't this model, and all that is in it would be removed", path).With("path", path).
		Hint("move it away")
}

func modelType(h *agentpb.ModelHeader) string {
	if h.GetFolder() {
		return durable.Directory
	}
	return durable.Regular
}

// receiveUnowned places a model that no stack owns. It replaces a file that no stack owns, as
// any copy does, and never a folder.
func (s *Server) receiveUnowned(in *transfer.Incoming, header *agentpb.ModelHeader) error {
	path := header.GetPath()
	if err := validPath(path); err != nil {
		return err
	}
	want, err := s.unownedAttributes(header)
	if err != nil {
		return err
	}
	if sum := header.GetSha256(); sum != "" && !hexDigest.MatchString(sum) {
		return fault.New(agentpb.Reason_INVALID, "%q is no SHA-256 in lower-case hexadecimal", sum)
	}
	st := s.use()
	if err := st.unowned(path); err != nil {
		return err
	}
	was, err := durable.Lstat(path)
	if err != nil {
		return fault.OfPath("look at", path, err)
	}
	if was != nil && (header.GetFolder() || was.Type != durable.Regular) {
		return fault.New(agentpb.Reason_NOT_OWNED, "%s exists: a %s that would have to be removed", path, was.Type).With("path", path).
			Hint("move it away, or push under another name")
	}
	parents, err := durable.MissingParents(path)
	if err != nil {
		return fault.OfPath("look at the folder of", path, err)
	}
	var received *transfer.Received
	_, err = effectWithParents(path, parents, was, func(*durable.Info) (bool, error) {
		received, err = st.receiveModel(in, path, want)
		return true, fault.OfPath("write", path, err)
	})
	if err != nil {
		return err
	}
	return in.Done(&agentpb.ChangeResponse{Changed: true}, received)
}

// unownedAttributes are those of a header, or, if it names nobody, those of a file that this agent
// makes: its user's, with the group that the folder hands on.
func (s *Server) unownedAttributes(header *agentpb.ModelHeader) (durable.Attributes, error) {
	if header.GetOwner() != "" || header.GetGroup() != "" {
		return s.attributes(header.GetOwner(), header.GetGroup(), header.GetMode())
	}
	own := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: header.GetMode() & 0o777}
	folder, err := durable.Lstat(filepath.Dir(header.GetPath()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it is made, then
		return own, fault.OfPath("look at the folder of", header.GetPath(), err)
	}
	if folder != nil && folder.Type == durable.Directory && folder.Mode&unix.S_ISGID != 0 {
		own.GID = int(folder.GID)
	}
	return own, nil
}

// unowned makes sure that no stack owns a path, what is below it, or the folder that it is in.
func (st *state) unowned(path string) error {
	entries, err := st.ledger.List()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !filepath.IsAbs(e.ID) || e.ID != path && !below(e.ID, path) && !(below(path, e.ID) && e.Kind != kindDirectory) {
			continue
		}
		return fault.New(agentpb.Reason_OTHER_OWNER, "%s belongs to %s of the stack %s", e.ID, e.URN, e.Stack).
			With("path", e.ID).With("owner", e.URN).With("stack", e.Stack).
			Hint("push under another name, or declare the model in that stack")
	}
	return nil
}

// below reports whether a path is in a folder, at any depth.
func below(path, folder string) bool {
	return len(path) > len(folder) && path[:len(folder)] == folder && path[len(folder)] == '/'
}

// receiveModel puts a model in place of the one that is there. A running server keeps the old
// one open until it is restarted.
func (st *state) receiveModel(in *transfer.Incoming, path string, want durable.Attributes) (*transfer.Received, error) {
	d, name, err := durable.Parent(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	received, err := in.Receive(d, name)
	if err != nil {
		return nil, err
	}
	// What happens now isn't ended by a connection that ends: the model is there.
	ctx := context.WithoutCancel(in.Context())
	err = models.Keep(ctx, st.digests(), []string{path}, func() error { return received.Publish(name, want) })
	if err != nil {
		return nil, err
	}
	entries := make([]modelfile.Entry, 0, len(received.Files))
	for _, f := range received.Files {
		entries = append(entries, modelfile.Entry{Name: f.Name, SHA256: f.SHA256})
	}
	models.Placed(ctx, st.digests(), path, in.Open.GetHeader().GetFolder(), entries)
	return received, nil
}

// partPath is where a model arrives.
func partPath(path string) string {
	return filepath.Join(filepath.Dir(path), transfer.PartName(filepath.Base(path)))
}
