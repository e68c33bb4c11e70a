package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrNotPrivate is the error of a folder that somebody else has made, or may enter.
var ErrNotPrivate = errors.New("it is not the agent's alone")

// OpenPrivate opens a folder that only the agent may enter, and makes it if there is none. A
// folder that somebody else has put there, or may enter, is refused.
func (d *Dir) OpenPrivate(name string) (*Dir, error) {
	if err := unix.Mkdirat(d.fd(), name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, d.fail("mkdir", name, err)
	}
	sub, err := d.OpenFolder(name)
	if err != nil {
		return nil, err
	}
	info, err := InfoOf(sub.f)
	if err == nil && (int(info.UID) != os.Geteuid() || info.Mode&0o077 != 0) {
		err = d.fail("open", name, fmt.Errorf("%w (uid %d, mode %04o)", ErrNotPrivate, info.UID, info.Mode))
	}
	if err != nil {
		sub.Close()
		return nil, err
	}
	return sub, nil
}

// OpenFolder opens a folder in the folder.
func (d *Dir) OpenFolder(name string) (*Dir, error) {
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, d.fail("open", name, err)
	}
	path := filepath.Join(d.path, name)
	return &Dir{f: os.NewFile(uintptr(fd), path), path: path}, nil
}

// OpenReadWrite opens a regular file for reading and writing.
func (d *Dir) OpenReadWrite(name string) (*os.File, error) {
	fd, err := unix.Openat(d.fd(), name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, d.fail("open", name, err)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(d.path, name))
	info, err := InfoOf(f)
	if err == nil && info.Type != Regular {
		err = d.fail("open", name, fmt.Errorf("it is a %s", info.Type))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Info describes the folder itself.
func (d *Dir) Info() (*Info, error) { return InfoOf(d.f) }

// TryLock locks the folder until it is closed, unless another process has locked it.
func (d *Dir) TryLock() (locked bool, err error) {
	err = unix.Flock(d.fd(), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, d.fail("lock", ".", err)
}

// Holds reports whether the entry is still the folder that sub is.
func (d *Dir) Holds(name string, sub *Dir) (bool, error) {
	named, err := d.Lstat(name)
	if err != nil || named == nil {
		return false, err
	}
	is, err := sub.Info()
	return err == nil && is.Identity.Device == named.Identity.Device && is.Identity.Inode == named.Identity.Inode, err
}

// MoveTo moves an entry to another folder of the same file system, over a file of that name.
func (d *Dir) MoveTo(name string, to *Dir, toName string) error {
	return to.fail("rename", toName, unix.Renameat(d.fd(), name, to.fd(), toName))
}

// Exchange swaps two entries of the same file system in one step.
func (d *Dir) Exchange(name string, to *Dir, toName string) error {
	return to.fail("rename", toName, unix.Renameat2(d.fd(), name, to.fd(), toName, unix.RENAME_EXCHANGE))
}

// Entries lists the names in the folder.
func (d *Dir) Entries() ([]string, error) {
	again, err := d.OpenFolder(".") // reading moves a position that the open folder shares
	if err != nil {
		return nil, err
	}
	defer again.Close()
	return again.f.Readdirnames(-1)
}

// RemoveAll removes an entry and, if it is a folder, all that is in it. It is no error if there
// is none.
func (d *Dir) RemoveAll(name string) error {
	err := unix.Unlinkat(d.fd(), name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return d.fail("remove", name, err)
	}
	sub, err := d.OpenFolder(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	names, err := sub.Entries()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := sub.RemoveAll(n); err != nil {
			return err
		}
	}
	return d.RemoveDirectory(name)
}

// SetAttributes sets the attributes of the folder itself.
func (d *Dir) SetAttributes(a Attributes) error {
	if err := a.SetOn(d.f); err != nil {
		return err
	}
	return d.f.Sync()
}

// FD is the folder's descriptor, for calls that take one. It is valid until Close.
func (d *Dir) FD() int { return d.fd() }
