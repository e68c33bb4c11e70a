package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// digestBuffer is how much of a file is read at once, in bytes.
const digestBuffer = 1 << 20

// Digest returns the digest of a source's model, of its single file or of its folder's manifest,
// and its files with their digests. Only what isn't known is read; progress, which may be nil, is
// told of it.
func Digest(ctx context.Context, src transfer.Source, progress func(transfer.Progress)) (string, []transfer.File, error) {
	files := append([]transfer.File(nil), src.Files()...)
	p := transfer.Progress{Phase: "hash"}
	for _, f := range files {
		p.Total += f.Size
		if f.SHA256 != "" {
			p.Done += f.Size
			p.Found += f.Size
		}
	}
	buf := make([]byte, digestBuffer)
	for i, f := range files {
		if f.SHA256 != "" {
			continue
		}
		sum, err := hashFile(ctx, src, i, buf, func(n int) {
			if progress != nil {
				p.File, p.Done = f.Name, p.Done+uint64(n)
				progress(p)
			}
		})
		if err != nil {
			return "", nil, err
		}
		files[i].SHA256 = sum
		if r, ok := src.(Remembering); ok {
			r.Remember(i, sum)
		}
	}
	if len(files) == 1 && files[0].Name == "" {
		return files[0].SHA256, files, nil
	}
	entries := make([]modelfile.Entry, len(files))
	for i, f := range files {
		entries[i] = modelfile.Entry{Name: f.Name, SHA256: f.SHA256}
	}
	return modelfile.Digest(entries), files, nil
}

func hashFile(ctx context.Context, src transfer.Source, file int, buf []byte, read func(int)) (string, error) {
	r, err := src.Open(ctx, file, 0)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	var got uint64
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := r.Read(buf)
		h.Write(buf[:n])
		got += uint64(n)
		read(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
	}
	if want := src.Files()[file].Size; got != want {
		return "", fmt.Errorf("the source gave %d bytes of the %d that it had listed", got, want)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
