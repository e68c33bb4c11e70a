package models

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/transfer"
)

// copyBuffer is how much is copied at once, in bytes.
const copyBuffer = 1 << 20

// SetAttributes gives all of a model these attributes. A file that has other names too gets a
// copy of its own first: attributes belong to the file, and the other names' owners have not asked
// for a change.
func (m *Model) SetAttributes(ctx context.Context, a durable.Attributes, progress func(n uint64)) error {
	parent, name, err := durable.Parent(m.Path)
	if err != nil {
		return err
	}
	defer parent.Close()
	if !m.Folder {
		return setOn(ctx, parent, name, a, m.Files[0].SHA256, progress)
	}
	known := map[string]string{}
	for _, f := range m.Files {
		known[f.Name] = f.SHA256
	}
	root, err := parent.OpenFolder(name)
	if err != nil {
		return err
	}
	defer root.Close()
	ofFolder := durable.Attributes{UID: a.UID, GID: a.GID, Mode: transfer.FolderMode(a.Mode)}
	err = root.Walk(func(in *durable.Dir, name, relative string, is *durable.Info) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch is.Type {
		case durable.Regular:
			return setOn(ctx, in, name, a, known[relative], progress)
		case durable.Directory:
			if is.Matches(ofFolder) {
				return nil
			}
			return in.SetOnDirectory(name, ofFolder)
		default:
			return fmt.Errorf("%q in it is a %s", relative, typeName(is.Type))
		}
	})
	if err != nil {
		return err
	}
	return root.SetAttributes(ofFolder)
}

func setOn(ctx context.Context, in *durable.Dir, name string, a durable.Attributes, sum string, progress func(n uint64)) error {
	f, is, err := in.OpenFile(name)
	if err != nil {
		return err
	}
	defer f.Close()
	switch {
	case is.Matches(a):
		return nil
	case is.Links > 1:
		return in.Replace(name, a, func(fresh *os.File) error {
			return replicate(ctx, fresh, f, sum, progress)
		})
	}
	if err := a.SetOn(f); err != nil {
		return err
	}
	return f.Sync()
}

// ErrOrigin is in the error of a copy whose origin can't be read or isn't what it was.
var ErrOrigin = errors.New("the copy on the host can't be used")

// replicate makes one file have the bytes of another, whose digest is sum. They share them on the
// disk where the file system can do that; else they are copied, and checked on the way.
func replicate(ctx context.Context, to, from *os.File, sum string, progress func(n uint64)) error {
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err == nil {
		return nil
	}
	is, err := durable.InfoOf(from)
	if err != nil {
		return err
	}
	if err := reserve(to, is); err != nil {
		return err
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_ = unix.Fadvise(int(from.Fd()), 0, 0, unix.FADV_SEQUENTIAL)
	h := sha256.New()
	buf := make([]byte, copyBuffer)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := from.Read(buf)
		if n > 0 {
			h.Write(buf[:n])
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
			if progress != nil {
				progress(uint64(n))
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrOrigin, err)
		}
	}
	if got := hex.EncodeToString(h.Sum(nil)); sum != "" && got != sum {
		return fmt.Errorf("%w: %s has the SHA-256 %s and not %s", ErrOrigin, from.Name(), got, sum)
	}
	return nil
}

// reserve takes the space for a copy, so that a full disk is found before the copying.
func reserve(to *os.File, is *durable.Info) error {
	if is.Size == 0 {
		return nil
	}
	err := unix.Fallocate(int(to.Fd()), 0, 0, int64(is.Size))
	if err == unix.EOPNOTSUPP {
		return nil
	}
	return err
}
