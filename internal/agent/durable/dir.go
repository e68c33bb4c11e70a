// Package durable changes files so that a reader, and the machine after a power cut, finds
// either what was there before or all of what was to be there.
//
// Everything happens relative to an open folder and never through a symbolic link as the last
// part of a path, nor through somebody else's before that: the agent is root, and a link in a
// folder that somebody else may write must not lead it to another file.
package durable

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Attributes are a file's owner, group and mode.
type Attributes struct {
	UID, GID int
	Mode     uint32 // permission bits with setuid, setgid and sticky, as chmod(2) takes them
}

// Dir is an open folder.
type Dir struct {
	f    *os.File
	path string
}

// Parent opens the folder of a path, and returns the path's last part.
func Parent(path string) (*Dir, string, error) {
	d, err := Open(filepath.Dir(path))
	return d, filepath.Base(path), err
}

// Close closes the folder.
func (d *Dir) Close() error { return d.f.Close() }

// Sync makes changes of the folder's entries durable.
func (d *Dir) Sync() error { return d.f.Sync() }

// SyncFileSystem makes everything durable that was written to the folder's file system.
func (d *Dir) SyncFileSystem() error { return d.fail("sync", ".", unix.Syncfs(d.fd())) }

func (d *Dir) fd() int { return int(d.f.Fd()) }

func (d *Dir) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err}
}

// Lstat describes an entry; a symbolic link is described itself. It is nil when there is none.
func (d *Dir) Lstat(name string) (*Info, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, d.fail("stat", name, err)
	}
	return infoOf(&st), nil
}

// OpenFile opens a regular file for reading. Anything else is refused, without being opened
// for good: opening a pipe would wait, and opening a device might do something.
func (d *Dir) OpenFile(name string) (*os.File, *Info, error) {
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, d.fail("open", name, err)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(d.path, name))
	info, err := InfoOf(f)
	if err == nil && info.Type != Regular {
		err = d.fail("open", name, fmt.Errorf("it is a %s", info.Type))
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// Replace puts a file in place of whatever is there. write gets the new file, which has no
// name that anybody looks for yet.
func (d *Dir) Replace(name string, a Attributes, write func(*os.File) error) error {
	d.Sweep(name)
	temporary := temporaryPrefix(name) + random()
	f, err := d.CreateNew(temporary)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = d.Publish(f, temporary, name, a)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		d.Remove(temporary) // gone already if it was published
	}
	return err
}

// CreateNew makes a file that nobody else can read, and fails when the name is taken.
func (d *Dir) CreateNew(name string) (*os.File, error) {
	fd, err := unix.Openat(d.fd(), name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, d.fail("create", name, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.path, name)), nil
}

// Publish gives a file that was made with CreateNew its attributes and its final name, once
// its bytes are on the disk.
func (d *Dir) Publish(f *os.File, temporary, name string, a Attributes) error {
	if err := a.SetOn(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := unix.Renameat(d.fd(), temporary, d.fd(), name); err != nil {
		return d.fail("rename", name, err)
	}
	return d.Sync()
}

// Rename moves an entry within the folder.
func (d *Dir) Rename(from, to string) error {
	return d.fail("rename", to, unix.Renameat(d.fd(), from, d.fd(), to))
}

// Mkdir makes a folder with exactly these attributes. Until it has them nobody but its maker
// may enter it.
func (d *Dir) Mkdir(name string, a Attributes) error {
	if err := unix.Mkdirat(d.fd(), name, 0o700); err != nil {
		return d.fail("mkdir", name, err)
	}
	if err := d.SetOnDirectory(name, a); err != nil {
		unix.Unlinkat(d.fd(), name, unix.AT_REMOVEDIR)
		return err
	}
	return d.Sync()
}

// SetOnDirectory sets the attributes of a folder in the folder.
func (d *Dir) SetOnDirectory(name string, a Attributes) error {
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return d.fail("open", name, err)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(d.path, name))
	defer f.Close()
	if err := a.SetOn(f); err != nil {
		return err
	}
	return f.Sync()
}

// Remove removes a file or a link. It is no error if there is none.
func (d *Dir) Remove(name string) error {
	err := unix.Unlinkat(d.fd(), name, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return d.fail("remove", name, err)
}

// RemoveDirectory removes an empty folder. It is no error if there is none.
func (d *Dir) RemoveDirectory(name string) error {
	err := unix.Unlinkat(d.fd(), name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return d.fail("remove", name, err)
}

// SetOn sets the attributes of an open file. The owner comes first, since changing it clears
// setuid and setgid.
func (a Attributes) SetOn(f *os.File) error {
	if err := f.Chown(a.UID, a.GID); err != nil {
		return err
	}
	if err := unix.Fchmod(int(f.Fd()), a.Mode); err != nil {
		return &os.PathError{Op: "chmod", Path: f.Name(), Err: err}
	}
	return nil
}

// Sweep removes what a killed Replace of the same name has left.
func (d *Dir) Sweep(name string) {
	folder, err := Open(d.path)
	if err != nil {
		return
	}
	defer folder.Close()
	entries, _ := folder.f.Readdirnames(-1)
	for _, entry := range entries {
		if strings.HasPrefix(entry, temporaryPrefix(name)) {
			d.RemoveAll(entry)
		}
	}
}

// temporaryPrefix tells one target's temporary files from another's, and fits where the
// target's own name would be too long.
func temporaryPrefix(name string) string {
	sum := sha256.Sum256([]byte(name))
	return ".llmhost-" + hex.EncodeToString(sum[:6]) + "-"
}

func random() string {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
