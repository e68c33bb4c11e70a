package archive

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/durable"
)

// Compare returns the paths of what is not as it was unpacked, sorted: other content, mode or
// owner, gone, or never unpacked. Empty folders that were never unpacked don't count: systemd
// makes them to mount something there.
func (m *Manifest) Compare(ctx context.Context, root *os.Root) ([]string, error) {
	expected := make(map[string]*Entry, len(m.Entries))
	for i := range m.Entries {
		expected[m.Entries[i].Path] = &m.Entries[i]
	}
	var modified []string
	err := fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if path == "." {
			return nil
		}
		e := expected[path]
		delete(expected, path)
		if e == nil {
			if !d.IsDir() {
				modified = append(modified, path)
			}
			return nil
		}
		same, err := e.matches(ctx, root)
		if err == nil && !same {
			modified = append(modified, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for path := range expected {
		modified = append(modified, path)
	}
	slices.Sort(modified)
	return modified, nil
}

func (e *Entry) matches(ctx context.Context, root *os.Root) (bool, error) {
	info, err := root.Lstat(e.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid() {
		return false, nil
	}
	switch e.Type {
	case durable.Symlink:
		if info.Mode()&fs.ModeSymlink == 0 {
			return false, nil
		}
		target, err := root.Readlink(e.Path)
		return target == e.Target, err
	case durable.Directory:
		return info.IsDir() && hasMode(info, e.Mode), nil
	default:
		return e.sameFile(ctx, root, info)
	}
}

func (e *Entry) sameFile(ctx context.Context, root *os.Root, info fs.FileInfo) (bool, error) {
	if !info.Mode().IsRegular() || !hasMode(info, e.Mode) || info.Size() != e.Size {
		return false, nil
	}
	if identityOf(info) == e.Identity {
		return true, nil
	}
	f, err := root.Open(e.Path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	sum, _, err := digest.Of(ctx, f)
	return sum == e.SHA256, err
}

func hasMode(info fs.FileInfo, mode uint32) bool {
	return info.Sys().(*syscall.Stat_t).Mode&0o7777 == mode
}
