package hostfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

// replace replaces a file in one step, so that a crash leaves either the old content or the new. A new file is 0600; an
// existing one keeps its mode, and a link keeps pointing to the file that is replaced.
func replace(path string, data []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	pending, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer pending.Discard()
	if info, err := os.Stat(path); err == nil {
		if err := pending.Chmod(info.Mode().Perm()); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := pending.Write(data); err != nil {
		return err
	}
	return pending.Replace()
}
