package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// pushChunk is how much one message of a push carries, in bytes: large enough that framing
// costs nothing, and far below gRPC's limit of 4 MiB a message.
const pushChunk = 256 << 10

// source is a local file that is to be pushed.
type source struct {
	*os.File
	size uint64
}

// openSource opens a local file whose bytes the host lacks.
func openSource(path, sha256Hex string) (*source, error) {
	if path == "" {
		return nil, fmt.Errorf("the host lacks the file with SHA-256 %s, and no source is given to send it from", sha256Hex)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the host lacks the file with SHA-256 %s, and its source %s isn't on this machine: download it, or correct the host file's source", sha256Hex, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the source to push: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("the source %s isn't a file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &source{File: f, size: uint64(info.Size())}, nil
}

// push sends a header and then the source's bytes, and returns the agent's answer. A nil
// source sends the header alone.
func push[Req any](ctx context.Context, stream grpc.ClientStreamingClient[Req, agentpb.ChangeResponse], src *source, header *Req, data func([]byte) *Req) (*agentpb.ChangeResponse, error) {
	err := stream.Send(header)
	if err == nil && src != nil {
		err = sendBytes(ctx, stream, src, data)
	}
	if err != nil && !errors.Is(err, io.EOF) { // io.EOF: the agent has answered before the end
		return nil, err
	}
	return stream.CloseAndRecv()
}

func sendBytes[Req any](ctx context.Context, stream grpc.ClientStreamingClient[Req, agentpb.ChangeResponse], src *source, data func([]byte) *Req) error {
	progress := newProgress(filepath.Base(src.Name()), src.size)
	var sent uint64
	for {
		buf := make([]byte, pushChunk) // gRPC may still hold the last one
		n, err := io.ReadFull(src, buf)
		if n > 0 {
			if sendErr := stream.Send(data(buf[:n])); sendErr != nil {
				return sendErr
			}
			sent += uint64(n)
			if line, due := progress.line(sent, time.Now()); due {
				progressf(ctx, "%s", line)
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			progressf(ctx, "%s: sent, checking the digest", progress.name)
			return nil
		case err != nil:
			return fmt.Errorf("read the source to push: %w", err)
		}
	}
}

// progress words how far a push is, once a second.
type progress struct {
	name  string
	total uint64
	begun time.Time
	last  time.Time
}

func newProgress(name string, total uint64) *progress {
	now := time.Now()
	return &progress{name: name, total: total, begun: now, last: now}
}

func (p *progress) line(sent uint64, now time.Time) (string, bool) {
	if now.Sub(p.last) < time.Second {
		return "", false
	}
	p.last = now
	rate := float64(sent) / now.Sub(p.begun).Seconds()
	left := time.Duration(float64(p.total-min(sent, p.total)) / rate * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("%s: %s of %s, %s/s, %s left",
		p.name, humanize.IBytes(sent), humanize.IBytes(p.total), humanize.IBytes(uint64(rate)), left), true
}
