package render

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Write writes files below dir at their paths on the host, with their permissions and with the
// owner that runs llmhost. dir is made when it isn't there. Unless force is set it has to be
// empty; with force, files of the same path are replaced and others are left alone.
//
// Nothing is written outside dir, whatever the paths and links in it say.
func Write(dir string, files []File, force bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder to render to: %w", err)
	}
	if !force {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("read the folder to render to: %w", err)
		}
		if len(entries) > 0 {
			return fmt.Errorf("%s isn't empty: name another folder, or use --force to replace what is rendered there", dir)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open the folder to render to: %w", err)
	}
	defer root.Close()
	for _, f := range files {
		if err := write(root, f); err != nil {
			return fmt.Errorf("render %s: %w", f.Path, err)
		}
	}
	return nil
}

func write(root *os.Root, f File) error {
	name := strings.TrimPrefix(path.Clean(f.Path), "/")
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// The bits that would give a program another user's rights mean nothing for a rendered text.
	permissions := fs.FileMode(f.Mode & 0o777)
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, permissions)
	if err != nil {
		return err
	}
	_, err = out.WriteString(f.Content)
	if err == nil {
		err = out.Chmod(permissions) // whatever the umask took away
	}
	return errors.Join(err, out.Close())
}
