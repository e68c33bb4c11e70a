package archive

import (
	"context"
	"io/fs"
	"os"

	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/durable"
)

// Describe makes the manifest of a folder that nothing changes any more. What no engine needs is
// refused as in an archive: devices, and programs that run as somebody else.
func Describe(ctx context.Context, folder string) (*Manifest, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	m := &Manifest{}
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		info, err := root.Lstat(path)
		if err != nil {
			return err
		}
		e := Entry{Path: path, Mode: uint32(info.Mode().Perm())}
		switch {
		case info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0:
			return bad("%s is setuid or setgid", path)
		case info.Mode()&fs.ModeSymlink != 0:
			e.Type, e.Mode = durable.Symlink, 0
			e.Target, err = root.Readlink(path)
		case info.IsDir():
			e.Type = durable.Directory
		case info.Mode().IsRegular():
			e.Type, e.Size = durable.Regular, info.Size()
			e.SHA256, err = digestIn(ctx, root, path)
		default:
			return bad("%s is neither a file nor a folder nor a link", path)
		}
		m.Entries = append(m.Entries, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	sortEntries(m.Entries)
	return m, m.Remember(root)
}

func digestIn(ctx context.Context, root *os.Root, path string) (string, error) {
	f, err := root.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum, _, err := digest.Of(ctx, f)
	return sum, err
}
