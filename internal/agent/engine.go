package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/archive"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
)

// PutEngine receives an archive and unpacks it to a folder that is named by its digest. A
// folder that is as it was unpacked needs no data; of any other, what differs is put back.
func (s *Server) PutEngine(stream grpc.ClientStreamingServer[agentpb.PutEngineRequest, agentpb.ChangeResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	header := first.GetHeader()
	if header == nil {
		return fault.New(agentpb.Reason_INVALID, "the first message of an engine must be its header")
	}
	st, unlock, err := s.changeByStream(kindEngine, header)
	if err != nil {
		return err
	}
	defer unlock()
	path := header.GetClaim().GetId()
	if filepath.Base(path) != header.GetSha256() {
		return fault.New(agentpb.Reason_INVALID, "the folder %s is not named by its archive's digest", path).With("path", path)
	}
	resp, err := st.putPath(header.GetClaim(), durable.Directory, func(was *durable.Info) (bool, error) {
		if was != nil {
			intact, err := st.engineIsIntact(stream.Context(), path, was, header.GetSha256())
			if err != nil || intact {
				return false, fault.OfPath("look at", path, err)
			}
		}
		return true, fault.OfPath("unpack to", path, st.receiveEngine(stream, header, s.limits, was != nil))
	})
	if err != nil {
		return err
	}
	return stream.SendAndClose(resp)
}

// engineAttributes are those of an engine's folder itself.
func engineAttributes() durable.Attributes {
	return durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o755}
}

func (st *state) engineIsIntact(ctx context.Context, path string, was *durable.Info, sha256Hex string) (bool, error) {
	m, err := archive.Load(st.manifest(path))
	if err != nil || m == nil || m.SHA256 != sha256Hex || !was.Matches(engineAttributes()) {
		return false, nil // a manifest that can't be read is made anew
	}
	modified, err := compareEngine(ctx, m, path)
	return len(modified) == 0, err
}

func compareEngine(ctx context.Context, m *archive.Manifest, path string) ([]string, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return m.Compare(ctx, root)
}

func (st *state) manifest(path string) string { return st.manifestOf(kindEngine, path) }

// manifestOf is where it is kept what is in a folder that llmhost has filled.
func (st *state) manifestOf(kind, path string) string {
	return filepath.Join(st.manifests(), ledger.Key(kind, path)+".json")
}

// receiveEngine has the archive and the unpacked copy beside the folder, so that giving it its
// name is one step.
func (st *state) receiveEngine(stream grpc.ClientStreamingServer[agentpb.PutEngineRequest, agentpb.ChangeResponse], header *agentpb.EngineHeader, limits archive.Limits, repair bool) error {
	path := header.GetClaim().GetId()
	d, name, err := durable.Parent(path)
	if err != nil {
		return err
	}
	defer d.Close()
	in, err := openIncoming(d, "."+name+".part", header.GetSize())
	if err != nil {
		return err
	}
	defer in.close()
	err = in.receive(header.GetSize(), header.GetSha256(), func() ([]byte, error) {
		msg, err := stream.Recv()
		if msg.GetHeader() != nil {
			err = fault.New(agentpb.Reason_INVALID, "a second header has arrived in the middle of an engine")
		}
		return msg.GetData(), err
	})
	if err != nil {
		return err
	}
	if _, err := in.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	parent, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	fresh := "." + name + ".tmp"
	if err := parent.RemoveAll(fresh); err != nil { // of a killed agent
		return err
	}
	defer parent.RemoveAll(fresh)
	if err := d.Mkdir(fresh, engineAttributes()); err != nil {
		return err
	}
	m, err := archive.Unpack(stream.Context(), in.file, header.GetFormat(), filepath.Join(filepath.Dir(path), fresh), limits)
	if err != nil {
		return err
	}
	m.Folder, m.SHA256 = path, header.GetSha256()
	if repair {
		return st.repairFolder(stream.Context(), d, parent, m, fresh, st.manifest(path))
	}
	return place(d, m, fresh, name, st.manifest(path))
}

// place gives a filled folder its name in one step, after all that is in it is on the disk.
func place(d *durable.Dir, m *archive.Manifest, fresh, name, manifest string) error {
	if err := d.SyncFileSystem(); err != nil {
		return err
	}
	if err := m.Save(manifest); err != nil {
		return err
	}
	if err := d.Rename(fresh, name); err != nil {
		return err
	}
	return d.Sync()
}

// repairFolder puts back what differs from the fresh copy.
func (st *state) repairFolder(ctx context.Context, d *durable.Dir, parent *os.Root, m *archive.Manifest, fresh, manifest string) error {
	name := filepath.Base(m.Folder)
	if err := d.SetOnDirectory(name, engineAttributes()); err != nil {
		return err
	}
	modified, err := compareEngine(ctx, m, m.Folder)
	if err != nil {
		return err
	}
	if err := m.Repair(parent, fresh, name, modified); err != nil {
		return err
	}
	if err := d.SyncFileSystem(); err != nil {
		return err
	}
	return m.Save(manifest)
}

// ObserveEngine compares an engine's folder with what was unpacked there. A folder that is not
// known to come from an archive is modified as a whole.
func (s *Server) ObserveEngine(ctx context.Context, req *agentpb.ObserveEngineRequest) (*agentpb.EngineState, error) {
	return s.observeFolder(ctx, kindEngine, req.GetPath())
}

func (s *Server) observeFolder(ctx context.Context, kind, path string) (*agentpb.EngineState, error) {
	if err := validPath(path); err != nil {
		return nil, err
	}
	owned, err := s.owned(kind, path)
	if err != nil {
		return nil, err
	}
	resp := &agentpb.EngineState{Owned: owned}
	is, err := durable.Lstat(path)
	if err != nil && !errors.Is(err, unix.ENOTDIR) {
		return nil, fault.OfPath("look at", path, err)
	}
	if is == nil {
		return resp, nil
	}
	resp.Exists = true
	manifest := s.use().manifestOf(kind, path)
	m, err := archive.Load(manifest)
	if err != nil {
		return nil, fault.OfPath("read", manifest, err)
	}
	if m == nil || is.Type != durable.Directory {
		resp.ModifiedFiles = []string{"."}
		return resp, nil
	}
	resp.Sha256, resp.Files = m.SHA256, m.Files()
	resp.ModifiedFiles, err = compareEngine(ctx, m, path)
	if err == nil && !is.Matches(engineAttributes()) {
		resp.ModifiedFiles = append([]string{"."}, resp.ModifiedFiles...)
	}
	return resp, fault.OfPath("look at", path, err)
}

// removeEngine removes an engine's folder with all that is in it.
func (s *Server) removeEngine(_ context.Context, st *state, e *ledger.Entry) (removal, error) {
	name := filepath.Base(e.ID)
	return st.removeFolder(e, "."+name+".part", "."+name+".tmp")
}

// removeFolder removes a folder that llmhost has filled, with all that is in it, and what an
// interrupted filling has left beside it.
func (st *state) removeFolder(e *ledger.Entry, leavings ...string) (removal, error) {
	sweep := func(*durable.Dir, string) error { return removeBeside(e.ID, leavings...) }
	done, err := st.removePath(e, durable.Directory, sweep, func(_ *durable.Dir, name string) (removal, error) {
		return removal{removed: true}, removeBeside(e.ID, name)
	})
	if err != nil {
		return removal{}, err
	}
	if err := os.Remove(st.manifestOf(e.Kind, e.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return removal{}, fmt.Errorf("remove the manifest of %s: %w", e.ID, err)
	}
	return done, nil
}

// removeBeside removes what is in the folder of a path under these names, with all that is in it.
func removeBeside(path string, names ...string) error {
	parent, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	for _, name := range names {
		if err := parent.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}
