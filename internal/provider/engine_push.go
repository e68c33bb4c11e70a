package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/transfer"
)

// pushChunk is how much one message of a push carries, in bytes: large enough that framing
// costs nothing, and far below gRPC's limit of 4 MiB a message.
const pushChunk = 256 << 10

// put brings the engine's archive to the host, where the agent unpacks it. A folder that is as
// it was unpacked needs no bytes, and so no source.
func (*Engine) put(ctx context.Context, in EngineArgs, generation *string) (Recorded, error) {
	h, err := connectToChange(ctx)
	if err != nil {
		return Recorded{}, err
	}
	c, err := claim(ctx, in.path(), generation, in.Adopt)
	if err != nil {
		return Recorded{}, err
	}
	seen, err := h.Agent().ObserveEngine(ctx, &agentpb.ObserveEngineRequest{Path: in.path()})
	if err != nil {
		return Recorded{}, err
	}
	header := &agentpb.EngineHeader{Claim: c, Sha256: in.SHA256, SessionId: h.Session()}
	if seen.GetExists() && seen.GetSha256() == in.SHA256 && len(seen.GetModifiedFiles()) == 0 {
		return sendEngine(ctx, h, header, nil)
	}
	src, err := openArchive(in.Source, in.SHA256)
	if err != nil {
		return Recorded{}, err
	}
	defer src.Close()
	header.Size = src.size
	if header.Format, err = archiveFormat(in.Source); err != nil {
		return Recorded{}, err
	}
	return sendEngine(ctx, h, header, src)
}

// archive is a local archive that is to be sent.
type archive struct {
	*os.File
	size uint64
}

// openArchive opens an archive that the host lacks.
func openArchive(path, sha256Hex string) (*archive, error) {
	if path == "" {
		return nil, fmt.Errorf("the host lacks the archive with SHA-256 %s, and no source is given to send it from", sha256Hex)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the host lacks the archive with SHA-256 %s, and its source %s isn't on this machine: download it, or correct the host file's source", sha256Hex, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the archive: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("the source %s isn't a file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &archive{File: f, size: uint64(info.Size())}, nil
}

// sendEngine sends a header and then the archive's bytes. Without an archive it sends the header
// alone.
func sendEngine(ctx context.Context, h Host, header *agentpb.EngineHeader, src *archive) (Recorded, error) {
	agent, release, err := bulk(ctx, h)
	if err != nil {
		return Recorded{}, err
	}
	defer release()
	stream, err := agent.PutEngine(ctx)
	if err != nil {
		return Recorded{}, err
	}
	err = stream.Send(&agentpb.PutEngineRequest{Part: &agentpb.PutEngineRequest_Header{Header: header}})
	if err == nil && src != nil {
		err = sendBytes(ctx, src, func(data []byte) error {
			return stream.Send(&agentpb.PutEngineRequest{Part: &agentpb.PutEngineRequest_Data{Data: data}})
		})
	}
	if err != nil && !errors.Is(err, io.EOF) { // io.EOF: the agent has answered before the end
		return Recorded{}, err
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		return Recorded{}, err
	}
	return recorded(resp.GetGeneration()), nil
}

// sendBytes sends an archive in messages.
func sendBytes(ctx context.Context, src *archive, send func([]byte) error) error {
	show := &status{ctx: ctx}
	var sent uint64
	for {
		buf := make([]byte, pushChunk) // gRPC may still hold the last one
		n, err := io.ReadFull(src, buf)
		if n > 0 {
			if sendErr := send(buf[:n]); sendErr != nil {
				return sendErr
			}
			sent += uint64(n)
			show.show(transfer.Progress{Phase: "send", Done: sent, Total: src.size, Sent: sent})
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			show.say("sent, checking the digest")
			return nil
		case err != nil:
			return fmt.Errorf("read the archive: %w", err)
		}
	}
}

// archiveFormat is the protocol's name for an archive's format, which its file name tells.
func archiveFormat(source string) (string, error) {
	for _, format := range []string{"tar", "tar.gz", "tar.zst"} {
		if strings.HasSuffix(source, "."+format) {
			return format, nil
		}
	}
	return "", fmt.Errorf("must be a .tar, .tar.gz or .tar.zst archive, not %q", source)
}
