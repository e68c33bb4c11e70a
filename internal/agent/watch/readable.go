package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Readable opens files, and all files of folders, as whoever runs it: a server's own user, in the
// server's sandbox, before the server itself.
func Readable(paths []string) error {
	var wrong refusal
	for _, path := range paths {
		if err := readable(path); err != nil {
			wrong.addf("%s", explain(path, err))
		}
	}
	return wrong.err()
}

func readable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return open(path)
	}
	return filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return open(p)
	})
}

// open opens a file without waiting for the other end of a pipe.
func open(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return unix.Close(fd)
}

func explain(path string, err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		path, err = at.Path, at.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s is not in the server's sandbox; `llmhost up --refresh` brings the model and restarts the server", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("the server's user (uid %d) may not read %s: the model must be readable by the group llm-models, as `llmhost up --refresh` makes it", os.Geteuid(), path)
	default:
		return fmt.Sprintf("the server's user (uid %d) can't read %s: %v", os.Geteuid(), path, err)
	}
}
