package agent

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// ownProgram is the program that runs, also after its file was removed or replaced.
const ownProgram = "/proc/self/exe"

// ownDigest is the SHA-256 of the program that runs.
var ownDigest = sync.OnceValues(func() (string, error) {
	f, err := os.Open(ownProgram)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum, _, err := digest.Of(context.Background(), f)
	return sum, err
})

// programAttributes let everybody run it and only root change it: units run it as root and as
// users of their own.
func programAttributes() durable.Attributes {
	return durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o755}
}

// PutProgram installs the program that runs. It replaces an older one by a rename, so that a
// unit which runs that one goes on with it.
func (s *Server) PutProgram(ctx context.Context, req *agentpb.PutProgramRequest) (*agentpb.ChangeResponse, error) {
	st, unlock, err := s.change(kindProgram, req.GetClaim())
	if err != nil {
		return nil, err
	}
	defer unlock()
	path := req.GetClaim().GetId()
	return st.putPath(req.GetClaim(), durable.Regular, func(*durable.Info) (bool, error) {
		changed, err := putProgram(ctx, path)
		return changed, fault.OfPath("install the agent's program as", path, err)
	})
}

func putProgram(ctx context.Context, path string) (changed bool, err error) {
	d, name, err := durable.Parent(path)
	if err != nil {
		return false, err
	}
	defer d.Close()
	is, sum, err := digestOf(ctx, d, name)
	if err != nil {
		return false, err
	}
	own, err := ownDigest()
	if err != nil {
		return false, err
	}
	want := programAttributes()
	if sum == own && is.Matches(want) {
		return false, nil
	}
	return true, d.Replace(name, want, func(f *os.File) error {
		program, err := os.Open(ownProgram)
		if err != nil {
			return err
		}
		defer program.Close()
		_, err = io.Copy(f, reader{ctx, program})
		return err
	})
}

// digestOf describes a small file and hashes it. What is no regular file has no digest, and
// what isn't there no description.
func digestOf(ctx context.Context, d *durable.Dir, name string) (*durable.Info, string, error) {
	is, err := d.Lstat(name)
	if err != nil || is == nil || is.Type != durable.Regular {
		return is, "", err
	}
	f, is, err := d.OpenFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	sum, _, err := digest.Of(ctx, f)
	return is, sum, err
}

// ObserveProgram says whether the program at a path is the one that answers.
func (s *Server) ObserveProgram(ctx context.Context, req *agentpb.ObserveProgramRequest) (*agentpb.ProgramState, error) {
	path := req.GetPath()
	if err := validPath(path); err != nil {
		return nil, err
	}
	owned, err := s.owned(kindProgram, path)
	if err != nil {
		return nil, err
	}
	resp := &agentpb.ProgramState{Owned: owned}
	d, name, err := durable.Parent(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return resp, nil
	}
	if err != nil {
		return nil, fault.OfPath("look at", path, err)
	}
	defer d.Close()
	is, sum, err := digestOf(ctx, d, name)
	if err != nil {
		return nil, fault.OfPath("read", path, err)
	}
	if is == nil {
		return resp, nil
	}
	own, err := ownDigest()
	if err != nil {
		return nil, fault.OfPath("read", ownProgram, err)
	}
	resp.Exists, resp.Sha256, resp.Mode = true, sum, is.Mode
	resp.Current = sum == own && is.Matches(programAttributes())
	resp.Owner, resp.Group, err = s.names(is)
	return resp, err
}
