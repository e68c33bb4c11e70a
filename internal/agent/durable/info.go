package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// The types of directory entries that matter to the agent, in agent.proto's words.
const (
	Regular   = "file"
	Directory = "directory"
	Symlink   = "symlink"
	Other     = "other"
)

// Info describes a directory entry.
type Info struct {
	Type     string
	Mode     uint32 // as in Attributes
	UID, GID uint32
	Size     uint64
	// Allocated is what it occupies on the disk, in bytes, and Links the number of its names.
	Allocated, Links uint64
	Identity         Identity
}

// Identity changes whenever the bytes of a file may have. The kernel sets the time of the last
// status change itself, so that a restored modification time doesn't hide a change.
type Identity struct {
	Device           uint64 `json:"device"`
	Inode            uint64 `json:"inode"`
	Size             int64  `json:"size"`
	ModifiedNano     int64  `json:"modified_ns"`
	StatusChangeNano int64  `json:"status_change_ns"`
}

// Matches reports whether the entry has these attributes.
func (i *Info) Matches(a Attributes) bool {
	return i.Mode == a.Mode && int(i.UID) == a.UID && int(i.GID) == a.GID
}

// InfoOf describes an open file.
func InfoOf(f *os.File) (*Info, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return infoOf(&st), nil
}

// Lstat describes a path, and is nil when there is nothing.
func Lstat(path string) (*Info, error) {
	var st unix.Stat_t
	switch err := unix.Lstat(path, &st); err {
	case nil:
		return infoOf(&st), nil
	case unix.ENOENT:
		return nil, nil
	default:
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
}

func infoOf(st *unix.Stat_t) *Info {
	kind := Other
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		kind = Regular
	case unix.S_IFDIR:
		kind = Directory
	case unix.S_IFLNK:
		kind = Symlink
	}
	return &Info{
		Type: kind, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Size: uint64(st.Size),
		Allocated: uint64(st.Blocks) * 512, Links: uint64(st.Nlink), // blocks are of 512 bytes, see stat(2)
		Identity: Identity{
			Device: uint64(st.Dev), Inode: st.Ino, Size: st.Size,
			ModifiedNano: st.Mtim.Nano(), StatusChangeNano: st.Ctim.Nano(),
		},
	}
}
