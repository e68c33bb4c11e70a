package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/confine"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// PutFile writes a file, or sets what differs.
func (s *Server) PutFile(ctx context.Context, req *agentpb.PutFileRequest) (*agentpb.ChangeResponse, error) {
	st, unlock, err := s.change(kindFile, req.GetClaim())
	if err != nil {
		return nil, err
	}
	defer unlock()
	want, err := s.attributes(req.GetOwner(), req.GetGroup(), req.GetMode())
	if err != nil {
		return nil, err
	}
	path := req.GetClaim().GetId()
	if req.GetGuard() != nil {
		put := effectPut{effect: confine.EffectOf(path), content: req.GetContent(), want: want, guard: req.GetGuard()}
		return s.putEffect(ctx, st, req.GetClaim(), put)
	}
	return st.putPath(req.GetClaim(), durable.Regular, func(was *durable.Info) (bool, error) {
		changed, err := putFile(path, was, req.GetContent(), want)
		return changed, fault.OfPath("write", path, err)
	})
}

func putFile(path string, was *durable.Info, content []byte, want durable.Attributes) (changed bool, err error) {
	d, name, err := durable.Parent(path)
	if err != nil {
		return false, err
	}
	defer d.Close()
	if was != nil && was.Size == uint64(len(content)) {
		same, err := amend(d, name, content, want)
		if err != nil || same != different {
			return same == amended, err
		}
	}
	return true, d.Replace(name, want, func(f *os.File) error {
		_, err := f.Write(content)
		return err
	})
}

type likeness int

const (
	different likeness = iota // the content differs, nothing was done
	identical
	amended // the content is the same, and the attributes are now
)

// amend sets the attributes of a file whose content is already as it should be.
func amend(d *durable.Dir, name string, content []byte, want durable.Attributes) (likeness, error) {
	f, is, err := d.OpenFile(name)
	if err != nil {
		return different, err
	}
	defer f.Close()
	has, err := io.ReadAll(io.LimitReader(f, int64(len(content))+1))
	if err != nil {
		return different, err
	}
	switch {
	case !bytes.Equal(has, content):
		return different, nil
	case is.Matches(want):
		return identical, nil
	}
	if err := want.SetOn(f); err != nil {
		return different, err
	}
	return amended, f.Sync()
}

// PutDirectory makes a folder, or sets its attributes.
func (s *Server) PutDirectory(_ context.Context, req *agentpb.PutDirectoryRequest) (*agentpb.ChangeResponse, error) {
	st, unlock, err := s.change(kindDirectory, req.GetClaim())
	if err != nil {
		return nil, err
	}
	defer unlock()
	want, err := s.attributes(req.GetOwner(), req.GetGroup(), req.GetMode())
	if err != nil {
		return nil, err
	}
	path := req.GetClaim().GetId()
	return st.putPath(req.GetClaim(), durable.Directory, func(was *durable.Info) (bool, error) {
		if was != nil && was.Matches(want) {
			return false, nil
		}
		d, name, err := durable.Parent(path)
		if err != nil {
			return false, fault.OfPath("open the folder of", path, err)
		}
		defer d.Close()
		if was == nil {
			return true, fault.OfPath("make", path, d.Mkdir(name, want))
		}
		return true, fault.OfPath("set the attributes of", path, d.SetOnDirectory(name, want))
	})
}

// ObservePath describes what is at a path.
func (s *Server) ObservePath(ctx context.Context, req *agentpb.ObservePathRequest) (*agentpb.PathState, error) {
	path := req.GetPath()
	if err := validPath(path); err != nil {
		return nil, err
	}
	kind := req.GetKind()
	if kind == "" {
		kind = kindFile
	}
	owned, err := s.owned(kind, path)
	if err != nil {
		return nil, err
	}
	d, name, err := durable.Parent(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return &agentpb.PathState{Owned: owned}, nil
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
		return &agentpb.PathState{Owned: owned}, nil
	}
	resp := &agentpb.PathState{Exists: true, Type: is.Type, Mode: is.Mode, Size: is.Size, Owned: owned}
	if resp.Owner, resp.Group, err = s.names(is); err != nil {
		return nil, err
	}
	if is.Type != durable.Regular {
		return resp, nil
	}
	return resp, fault.OfPath("read", path, observeContent(ctx, d, name, req.GetMaxContent(), resp))
}

// observeContent adds the digest of a file, and the content as far as it was asked for.
func observeContent(ctx context.Context, d *durable.Dir, name string, limit uint64, resp *agentpb.PathState) error {
	f, _, err := d.OpenFile(name)
	if err != nil {
		return err
	}
	defer f.Close()
	head := &prefix{limit: min(limit, maxMessage/2)}
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(sum, head), reader{ctx, f})
	if err != nil {
		return err
	}
	resp.Size = uint64(size)
	resp.Sha256 = hex.EncodeToString(sum.Sum(nil))
	resp.Content = head.bytes
	resp.ContentTruncated = limit > 0 && resp.Size > uint64(len(head.bytes))
	return nil
}

// prefix keeps the first bytes of what is written to it.
type prefix struct {
	bytes []byte
	limit uint64
}

func (p *prefix) Write(b []byte) (int, error) {
	if room := p.limit - uint64(len(p.bytes)); room > 0 {
		p.bytes = append(p.bytes, b[:min(room, uint64(len(b)))]...)
	}
	return len(b), nil
}

// reader stops reading when its context is done.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}
