package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/archive"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
	"github.com/llmhost/llmhost/internal/agent/venv"
)

// installStream is how a caller hears of an installation.
type installStream = grpc.ServerStreamingServer[agentpb.InstallEvent]

// tell passes on what is said, once a second: whoever is gone needs no progress.
func tell(stream installStream) func(line string) {
	var spoken time.Time
	return func(line string) {
		if time.Since(spoken) >= time.Second {
			spoken = time.Now()
			_ = stream.Send(&agentpb.InstallEvent{Progress: line})
		}
	}
}

// PutVenv builds a Python environment in a folder that is named by the digest of what it consists
// of. A folder that is as it was built is left alone; of any other, what differs is put back.
func (s *Server) PutVenv(req *agentpb.PutVenvRequest, stream installStream) error {
	st, unlock, err := s.change(kindVenv, req.GetClaim())
	if err != nil {
		return err
	}
	defer unlock()
	path := req.GetClaim().GetId()
	sum := sha256.Sum256([]byte(req.GetRequirements()))
	if digest := hex.EncodeToString(sum[:]); filepath.Base(path) != digest {
		return fault.New(agentpb.Reason_INVALID, "the folder %s is not named by the digest of its requirements, %s", path, digest).With("path", path)
	}
	if err := validPath(req.GetRoot()); err != nil {
		return err
	}
	if err := venv.ValidIndexes(req.GetIndexes()); err != nil {
		return err
	}
	resp, err := st.putPath(req.GetClaim(), durable.Directory, func(was *durable.Info) (bool, error) {
		if was != nil {
			intact, err := st.venvIsIntact(stream.Context(), path, was)
			if err != nil || intact {
				return false, fault.OfPath("look at", path, err)
			}
		}
		return true, fault.OfPath("build", path, st.buildVenv(stream, req, was != nil))
	})
	if err != nil {
		return err
	}
	return stream.Send(&agentpb.InstallEvent{Result: resp})
}

func (st *state) venvIsIntact(ctx context.Context, path string, was *durable.Info) (bool, error) {
	m, err := archive.Load(st.manifestOf(kindVenv, path))
	if err != nil || m == nil || !was.Matches(engineAttributes()) {
		return false, nil // a manifest that can't be read is made anew
	}
	modified, err := compareEngine(ctx, m, path)
	return len(modified) == 0, err
}

// buildVenv builds the environment beside its folder and under its name at the same time: the
// build's own mounts show it there. So giving it its name is one step, and a server that runs
// from the folder is not disturbed.
func (st *state) buildVenv(stream installStream, req *agentpb.PutVenvRequest, repair bool) error {
	ctx, path := stream.Context(), req.GetClaim().GetId()
	d, name, err := durable.Parent(path)
	if err != nil {
		return err
	}
	defer d.Close()
	parent, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	fresh, cache, file := venvLeavings(name)
	beside := func(name string) string { return filepath.Join(filepath.Dir(path), name) }
	build := venv.Build{
		Folder: path, At: beside(fresh), Cache: beside(cache), Root: req.GetRoot(),
		Requirements: beside(file), Indexes: req.GetIndexes(),
	}
	build.End(ctx)
	if err := parent.RemoveAll(fresh); err != nil { // of a killed agent
		return err
	}
	defer parent.RemoveAll(fresh)
	defer parent.Remove(file)
	if err := d.Mkdir(fresh, engineAttributes()); err != nil {
		return err
	}
	requirements := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o644}
	if err := durable.WriteFile(beside(file), []byte(req.GetRequirements()), requirements); err != nil {
		return err
	}
	if err := build.Run(ctx, tell(stream)); err != nil {
		return err // what was downloaded stays for the next try
	}
	m, err := archive.Describe(ctx, beside(fresh))
	if err != nil {
		return err
	}
	m.Folder, m.SHA256 = path, filepath.Base(path)
	manifest := st.manifestOf(kindVenv, path)
	if repair {
		err = st.repairFolder(ctx, d, parent, m, fresh, manifest)
	} else {
		err = place(d, m, fresh, name, manifest)
	}
	if err != nil {
		return err
	}
	return parent.RemoveAll(cache)
}

// venvLeavings are what a build has beside its folder: the new environment, what was downloaded,
// and the requirements.
func venvLeavings(name string) (fresh, cache, requirements string) {
	return "." + name + ".tmp", "." + name + ".cache", "." + name + ".txt"
}

// ObserveVenv compares an environment with what was built. One that was built for another version
// of the host's Python is modified: its packages would not be found.
func (s *Server) ObserveVenv(ctx context.Context, req *agentpb.ObserveVenvRequest) (*agentpb.EngineState, error) {
	resp, err := s.observeFolder(ctx, kindVenv, req.GetPath())
	if err != nil || !resp.GetExists() {
		return resp, err
	}
	if _, err := os.Stat(filepath.Join(req.GetPath(), "bin/python3")); err != nil && len(resp.GetModifiedFiles()) == 0 {
		resp.ModifiedFiles = []string{"bin/python3"}
	}
	return resp, nil
}

// removeVenv removes an environment with all that is in it and beside it.
func (s *Server) removeVenv(_ context.Context, st *state, e *ledger.Entry) (removal, error) {
	fresh, cache, requirements := venvLeavings(filepath.Base(e.ID))
	return st.removeFolder(e, fresh, cache, requirements)
}
