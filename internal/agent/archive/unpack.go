// Package archive unpacks an inference engine and can say later whether it is still as it was
// unpacked.
//
// An archive is checked by its digest before it is opened, and is still not trusted: whoever
// made it may have been careless. What would write outside its folder, make a device, or leave
// a program that runs as somebody else is refused, and not skipped.
package archive

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// Limits bound what an archive may unpack to.
type Limits struct {
	Bytes   int64
	Entries int
}

// DefaultLimits are far above any engine (vLLM with CUDA is about 12 GiB in 60,000 files) and
// far below what would fill a disk by accident.
var DefaultLimits = Limits{Bytes: 20 << 30, Entries: 500_000}

// maxWindow is the largest window of a zstd archive, in bytes: that of `zstd --long`.
const maxWindow = 128 << 20

// Unpack unpacks an archive (tar, tar.gz or tar.zst) into an empty folder. Whatever the
// archive says, all belongs to the agent's user, directories are 0755, and files are 0755 when
// anybody may run them and 0644 otherwise.
func Unpack(ctx context.Context, r io.Reader, format, folder string, limits Limits) (*Manifest, error) {
	plain, closer, err := decompress(r, format)
	if err != nil {
		return nil, err
	}
	defer closer()
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	u := &unpacker{root: root, limits: limits, made: map[string]*Entry{}}
	for entries := tar.NewReader(plain); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return u.manifest()
		}
		if err != nil {
			return nil, bad("it can't be read: %v", err)
		}
		if err := u.add(header, entries); err != nil {
			return nil, err
		}
	}
}

func bad(format string, args ...any) *fault.Error {
	return fault.New(agentpb.Reason_BAD_ARCHIVE, "the archive is refused: "+format, args...)
}

func decompress(r io.Reader, format string) (io.Reader, func(), error) {
	switch format {
	case "tar":
		return r, func() {}, nil
	case "tar.gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, bad("it is not gzip: %v", err)
		}
		return z, func() { z.Close() }, nil
	case "tar.zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, bad("it is not zstd: %v", err)
		}
		return z, z.Close, nil
	default:
		return nil, nil, fault.New(agentpb.Reason_INVALID, "%q is no archive format; tar, tar.gz and tar.zst are", format)
	}
}

type unpacker struct {
	root   *os.Root
	limits Limits
	bytes  int64
	made   map[string]*Entry
}

func (u *unpacker) add(h *tar.Header, content io.Reader) error {
	name, err := entryName(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		return nil
	}
	if len(u.made) >= u.limits.Entries {
		return bad("it has more than %d entries", u.limits.Entries)
	}
	if u.bytes += max(h.Size, 0); u.bytes > u.limits.Bytes {
		return bad("it unpacks to more than %d bytes", u.limits.Bytes)
	}
	if h.Mode&0o6000 != 0 && h.Typeflag != tar.TypeDir {
		return bad("%s is setuid or setgid", name)
	}
	if err := u.parents(name); err != nil {
		return err
	}
	if was := u.made[name]; was != nil && (was.Type != durable.Directory || h.Typeflag != tar.TypeDir) {
		return bad("%s is in it twice", name)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.directory(name)
	case tar.TypeReg:
		return u.file(name, h, content)
	case tar.TypeSymlink:
		return u.symlink(name, h.Linkname)
	case tar.TypeLink:
		return u.link(name, h.Linkname)
	default:
		return bad("%s is neither a file nor a folder nor a link", name)
	}
}

// entryName is the path of an entry below the folder.
func entryName(name string) (string, error) {
	if strings.HasPrefix(name, "/") || strings.ContainsRune(name, 0) || slices.Contains(strings.Split(name, "/"), "..") {
		return "", bad("the path %q leads out of its folder", name)
	}
	return path.Clean(name), nil
}

// parents makes the folders above an entry. They must be folders, also where a link to one
// would do: what is unpacked must be what the manifest says.
func (u *unpacker) parents(name string) error {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	if was := u.made[dir]; was != nil {
		if was.Type != durable.Directory {
			return bad("%s is below %s, which is a %s", name, dir, was.Type)
		}
		return nil
	}
	if err := u.parents(dir); err != nil {
		return err
	}
	return u.directory(dir)
}

func (u *unpacker) directory(name string) error {
	if u.made[name] != nil {
		return nil
	}
	if err := u.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	u.made[name] = &Entry{Path: name, Type: durable.Directory, Mode: 0o755}
	return u.root.Chmod(name, 0o755)
}

func (u *unpacker) file(name string, h *tar.Header, content io.Reader) error {
	mode := uint32(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	from := &source{Reader: content}
	if _, err := io.Copy(io.MultiWriter(f, sum), from); err != nil {
		if from.err != nil {
			return bad("%s can't be read: %v", name, from.err)
		}
		return err
	}
	if err := f.Chmod(os.FileMode(mode)); err != nil {
		return err
	}
	u.made[name] = &Entry{Path: name, Type: durable.Regular, Mode: mode, Size: h.Size, SHA256: hex.EncodeToString(sum.Sum(nil))}
	return f.Close()
}

// source tells the archive's errors from those of the disk that it is unpacked to.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// symlink makes a link whose target is in the folder. An absolute target is meant from the
// folder as the root directory, which it is for the engine.
func (u *unpacker) symlink(name, target string) error {
	if target == "" || strings.ContainsRune(target, 0) {
		return bad("the link %s has no target", name)
	}
	if !path.IsAbs(target) {
		if to := path.Join(path.Dir(name), target); to == ".." || strings.HasPrefix(to, "../") {
			return bad("the link %s to %q leads out of its folder", name, target)
		}
	}
	if err := u.root.Symlink(target, name); err != nil {
		return err
	}
	u.made[name] = &Entry{Path: name, Type: durable.Symlink, Target: target}
	return nil
}

// link makes another name of a file that was already unpacked.
func (u *unpacker) link(name, target string) error {
	to, err := entryName(target)
	if err != nil {
		return err
	}
	was := u.made[to]
	if was == nil || was.Type != durable.Regular {
		return bad("%s is a link to %q, which is no file of it", name, target)
	}
	if err := u.root.Link(to, name); err != nil {
		return err
	}
	same := *was
	same.Path = name
	u.made[name] = &same
	return nil
}

func (u *unpacker) manifest() (*Manifest, error) {
	if len(u.made) == 0 {
		return nil, bad("it is empty")
	}
	m := &Manifest{}
	for _, e := range u.made {
		m.Entries = append(m.Entries, *e)
	}
	sortEntries(m.Entries)
	if err := m.Remember(u.root); err != nil {
		return nil, fmt.Errorf("look at what was unpacked: %w", err)
	}
	return m, nil
}

func sortEntries(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
}
