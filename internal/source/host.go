package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// Dialer connects to the host that an ssh source names. What it returns is closed with the source.
type Dialer func(ctx context.Context, s modelfile.Source) (Host, io.Closer, error)

// Host is the part of a host's agent that a source needs.
type Host interface {
	ObserveModel(ctx context.Context, in *agentpb.ObserveModelRequest, opts ...grpc.CallOption) (*agentpb.ModelState, error)
	ReadModel(ctx context.Context, in *agentpb.ReadModelRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[agentpb.ReadModelResponse], error)
}

// openHost opens a model on another host. Its digests are the ones that its agent says.
func openHost(ctx context.Context, s modelfile.Source, o Options) (transfer.Source, error) {
	if o.Dial == nil {
		return nil, fmt.Errorf("the source %s is on another host, which isn't asked here", s.Text)
	}
	host, connection, err := o.Dial(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("the source %s: %w", s.Text, err)
	}
	out, err := listHost(ctx, host, s)
	if err != nil {
		connection.Close()
		return nil, fmt.Errorf("the source %s: %w", s.Text, err)
	}
	out.connection = connection
	return out, nil
}

// OnHost opens a model on a host that is connected already, which stays so. Its digests are the
// ones that its agent says.
func OnHost(ctx context.Context, host Host, path string, folder bool) (transfer.Source, error) {
	out := &models{host: host, text: path, connection: io.NopCloser(nil)}
	return out, out.add(ctx, "", path, folder)
}

// models is a model on another host.
type models struct {
	host       Host
	connection io.Closer
	text       string // the source's

	files []transfer.File
	paths []*agentpb.ReadModelRequest // where files are, in their order
}

func listHost(ctx context.Context, host Host, s modelfile.Source) (*models, error) {
	out := &models{host: host, text: s.Text}
	shard, isShard := s.Shard()
	if isShard {
		// A set of shards is in a folder that may hold others, so each is a model by itself.
		folder := parent(s.Path)
		for _, name := range shard.All() {
			if err := out.add(ctx, name, folder+"/"+name, false); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return out, out.add(ctx, "", s.Path, s.Folder)
}

// add adds the files of what is at a path.
func (m *models) add(ctx context.Context, name, path string, folder bool) error {
	is, err := m.host.ObserveModel(ctx, &agentpb.ObserveModelRequest{Path: path})
	switch {
	case err != nil:
		return err
	case !is.GetExists():
		return fmt.Errorf("%s isn't on that host", path)
	case is.GetSha256() == "":
		return fmt.Errorf("%s can't be a model there: %s", path, is.GetUnusable())
	case is.GetFolder() && !folder:
		return fmt.Errorf("%s is a folder there: the name of a folder model doesn't end in .gguf", path)
	case !is.GetFolder() && folder:
		return fmt.Errorf("%s is a file there, and a model that is one file has a name that ends in .gguf", path)
	}
	if !folder {
		m.files = append(m.files, transfer.File{Name: name, Size: is.GetSize(), SHA256: is.GetSha256()})
		m.paths = append(m.paths, &agentpb.ReadModelRequest{Path: path})
		return nil
	}
	for _, f := range is.GetFiles() {
		if hidden(f.GetName()) {
			continue
		}
		if err := validName(f.GetName()); err != nil {
			return err
		}
		m.files = append(m.files, transfer.File{Name: f.GetName(), Size: f.GetSize(), SHA256: f.GetSha256()})
		m.paths = append(m.paths, &agentpb.ReadModelRequest{Path: path, Name: f.GetName()})
	}
	return nil
}

func (m *models) Files() []transfer.File { return m.files }

func (m *models) ID() string {
	h := sha256.New()
	for _, f := range m.files {
		fmt.Fprintf(h, "%q %d %s\n", f.Name, f.Size, f.SHA256)
	}
	return fmt.Sprintf("host:%x", h.Sum(nil))
}

// Distant implements [transfer.Distant].
func (m *models) Distant() bool { return true }

func (m *models) Close() error { return m.connection.Close() }

func (m *models) Open(ctx context.Context, file int, offset uint64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	left := m.files[file].Size - min(offset, m.files[file].Size)
	if left == 0 {
		cancel()
		return io.NopCloser(eof{}), nil
	}
	at := m.paths[file]
	stream, err := m.host.ReadModel(ctx, &agentpb.ReadModelRequest{Path: at.GetPath(), Name: at.GetName(), Offset: offset})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("%s: %w", m.text, err)
	}
	return &hostReader{stream: stream, cancel: cancel, text: m.text, left: left}, nil
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// hostReader reads a file of another host.
type hostReader struct {
	stream grpc.ServerStreamingClient[agentpb.ReadModelResponse]
	cancel context.CancelFunc
	text   string
	have   []byte
	left   uint64 // bytes, with those in have
}

func (r *hostReader) Read(p []byte) (int, error) {
	for len(r.have) == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		resp, err := r.stream.Recv()
		if errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("%w: %s is %d bytes shorter", transfer.ErrChanged, r.text, r.left)
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", r.text, err)
		}
		if r.have = resp.GetData(); uint64(len(r.have)) > r.left {
			return 0, fmt.Errorf("%w: %s is longer", transfer.ErrChanged, r.text)
		}
	}
	n := copy(p, r.have)
	r.have, r.left = r.have[n:], r.left-uint64(n)
	return n, nil
}

func (r *hostReader) Close() error {
	r.cancel()
	return nil
}
