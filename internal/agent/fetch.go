package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/transfer"
)

// FetchModel brings a model from addresses, or from paths on the host. It is a push whose two
// ends are in this process, so that what a cut leaves, what is verified and what gets a name are
// the same.
func (s *Server) FetchModel(req *agentpb.FetchModelRequest, stream grpc.ServerStreamingServer[agentpb.ModelEvent]) error {
	ctx, header := stream.Context(), req.GetHeader()
	if err := s.mayFetch(header); err != nil {
		return err
	}
	src, err := openOrigins(ctx, header.GetFiles(), req.GetFrom())
	if err != nil {
		return fetchFailed(err)
	}
	defer src.Close()
	ev := &modelEvents{stream: stream}
	lanes := &ownLanes{server: s}
	result, err := transfer.Push(ctx, lanes, header, src, transfer.Options{
		Holder: "a download",
		Progress: func(p transfer.Progress) {
			doing := p.Phase
			if doing == "send" {
				doing = "fetch"
			}
			ev.progress(doing)(p.File, p.Done, p.Total)
		},
	})
	lanes.ended.Wait() // an error has been cleaned up after, then
	if err != nil {
		return fetchFailed(err)
	}
	total := result.Sent + result.Found
	return stream.Send(&agentpb.ModelEvent{DoneBytes: total, TotalBytes: total,
		Result: &agentpb.ChangeResponse{Generation: result.Generation, Changed: result.Changed}})
}

// mayFetch finds out before anybody is asked whether the model may be changed at all. The
// receiver decides again, with the model locked.
func (s *Server) mayFetch(header *agentpb.ModelHeader) error {
	c := header.GetClaim()
	if c == nil {
		return validPath(header.GetPath())
	}
	if err := validate(kindModel, c); err != nil {
		return err
	}
	return s.use().lease.Join(header.GetSessionId())
}

// fetchFailed gives an error of an origin its reason.
func fetchFailed(err error) error {
	var e *source.FetchError
	if !errors.As(err, &e) {
		return err
	}
	out := fault.New(agentpb.Reason_FETCH_FAILED, "fetch %s: %s", e.URL, e.Message).With("url", e.URL)
	hints := []string{e.Hint}
	if e.Unreachable {
		hints = append(hints, `a host that has no way there gets it through your machine with download = "here"`)
	}
	if hints = slices.DeleteFunc(hints, func(h string) bool { return h == "" }); len(hints) > 0 {
		out = out.Hint("%s", strings.Join(hints, "; "))
	}
	return out
}

// ownLanes are lanes to the agent that opens them.
type ownLanes struct {
	server *Server
	ended  sync.WaitGroup
}

func (l *ownLanes) Lane(ctx context.Context) (io.ReadWriteCloser, error) {
	sender, receiver := net.Pipe()
	l.ended.Go(func() {
		if err := l.server.ServeLane(ctx, receiver); err != nil && ctx.Err() == nil {
			l.server.log.Warn("the lane of a download has ended", "error", err)
		}
	})
	return sender, nil
}

// ExtraLane is Lane: more than one is no faster within a process.
func (l *ownLanes) ExtraLane(ctx context.Context) (io.ReadWriteCloser, error) { return l.Lane(ctx) }

func (l *ownLanes) RTT() time.Duration { return 0 }

// origins are the files of a model that this host fetches.
type origins struct {
	files []transfer.File
	web   transfer.Source // those at addresses; nil: none
	parts []originFile    // of files, in their order
}

// originFile is where a file's bytes are: at an address, or at a path.
type originFile struct {
	web  int    // the file of origins.web
	path string // empty: at an address
	is   durable.Identity
}

func openOrigins(ctx context.Context, files []*agentpb.ModelFile, from []*agentpb.ModelOrigin) (*origins, error) {
	if len(files) == 0 || len(files) != len(from) {
		return nil, fault.New(agentpb.Reason_INVALID, "a model of %d files can't be fetched from %d origins", len(files), len(from))
	}
	s := &origins{}
	var addresses []source.Address
	for i, f := range files {
		file, part := transfer.File{Name: f.GetName(), Size: f.GetSize(), SHA256: f.GetSha256()}, originFile{path: from[i].GetPath()}
		if part.path == "" {
			part.web = len(addresses)
			addresses = append(addresses, source.Address{Name: f.GetName(), URL: from[i].GetUrl(), Token: from[i].GetToken(), Size: f.GetSize()})
		} else {
			in, is, err := openHostFile(part.path)
			if err != nil {
				return nil, err
			}
			in.Close()
			file.Size, part.is = is.Size, is.Identity
		}
		s.files = append(s.files, file)
		s.parts = append(s.parts, part)
	}
	if len(addresses) == 0 {
		return s, nil
	}
	var err error
	if s.web, err = source.Addresses(ctx, addresses); err != nil {
		return nil, err
	}
	for i, part := range s.parts {
		if part.path == "" {
			s.files[i].Size = s.web.Files()[part.web].Size
		}
	}
	return s, nil
}

// openHostFile opens a file of this host by a path without foreign links.
func openHostFile(path string) (*os.File, *durable.Info, error) {
	if err := validPath(path); err != nil {
		return nil, nil, err
	}
	f, is, err := openModelFile(path, "")
	return f, is, fault.OfPath("read", path, err)
}

func (s *origins) Files() []transfer.File { return s.files }

func (s *origins) ID() string {
	h := sha256.New()
	for i, f := range s.files {
		fmt.Fprintf(h, "%q %d %+v\n", f.Name, f.Size, s.parts[i].is)
	}
	if s.web != nil {
		fmt.Fprintln(h, s.web.ID())
	}
	return fmt.Sprintf("fetch:%x", h.Sum(nil))
}

// Distant implements [transfer.Distant].
func (s *origins) Distant() bool { return s.web != nil }

func (s *origins) Close() error {
	if s.web == nil {
		return nil
	}
	return s.web.Close()
}

func (s *origins) Open(ctx context.Context, file int, offset uint64) (io.ReadCloser, error) {
	part := s.parts[file]
	if part.path == "" {
		return s.web.Open(ctx, part.web, offset)
	}
	f, is, err := openHostFile(part.path)
	if err != nil {
		return nil, err
	}
	if is.Identity != part.is {
		f.Close()
		return nil, fmt.Errorf("%w: %s", transfer.ErrChanged, part.path)
	}
	if _, err := f.Seek(int64(offset), io.SeekStart); err != nil {
		f.Close()
		return nil, fault.OfPath("read", part.path, err)
	}
	return &hostFileReader{File: f, part: part}, nil
}

// hostFileReader reads a file that must stay as it was.
type hostFileReader struct {
	*os.File
	part originFile
}

func (r *hostFileReader) Read(p []byte) (int, error) {
	n, err := r.File.Read(p)
	if is, statErr := durable.InfoOf(r.File); statErr != nil || is.Identity != r.part.is {
		return 0, fmt.Errorf("%w: %s", transfer.ErrChanged, r.part.path)
	}
	return n, err
}
