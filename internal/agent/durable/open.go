package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks ends a chain of symbolic links that leads back to itself, as the kernel does
// (path_resolution(7)).
const maxLinks = 40

// Open opens a folder.
//
// A symbolic link on the way to it counts only when it is root's or the agent's own. Whoever
// may write one of the folders on the way could otherwise have the agent write, change the owner
// of, or remove what is in another: declared would be a folder of a service's user, and meant by
// the link that this user has put there is /etc.
func Open(path string) (*Dir, error) { return open(path, ours) }

func ours(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

func open(path string, trusted func(uid uint32) bool) (*Dir, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags:   unix.O_DIRECTORY | unix.O_RDONLY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	// ENOSYS: before Linux 5.6. EPERM: in a container whose filter of calls is as old.
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		fd, err = walk(path, trusted)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &Dir{f: os.NewFile(uintptr(fd), path), path: path}, nil
}

// walk opens a folder step by step, so that it sees whose each link is.
func walk(path string, trusted func(uid uint32) bool) (int, error) {
	const step = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	start := "."
	if filepath.IsAbs(path) {
		start = "/"
	}
	at, err := unix.Open(start, step|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	defer func() { unix.Close(at) }()
	enter := func(fd int) {
		unix.Close(at)
		at = fd
	}
	links := 0
	for rest := strings.Split(path, "/"); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		fd, err := unix.Openat(at, name, step, 0)
		if err != nil {
			return -1, err
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
			return -1, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			enter(fd) // what isn't a folder has nothing in it: ENOTDIR
			continue
		}
		target, err := readlink(fd)
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
		if !trusted(st.Uid) {
			return -1, fmt.Errorf("the symbolic link %q on the way to it belongs to another user (uid %d); name the folder itself", name, st.Uid)
		}
		if links++; links > maxLinks {
			return -1, unix.ELOOP
		}
		if filepath.IsAbs(target) {
			root, err := unix.Open("/", step|unix.O_DIRECTORY, 0)
			if err != nil {
				return -1, err
			}
			enter(root)
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return unix.Openat(at, ".", unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// readlink reads the link that is open.
func readlink(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
