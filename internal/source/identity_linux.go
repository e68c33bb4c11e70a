package source

import (
	"io/fs"
	"syscall"
	"time"
)

// identity changes whenever somebody writes to a file or puts another in its place.
type identity struct {
	Device  uint64 `json:"device"`
	Inode   uint64 `json:"inode"`
	Size    int64  `json:"size"`
	Mtime   int64  `json:"mtime"` // nanoseconds
	Changed int64  `json:"ctime"` // nanoseconds; nobody can set it back
}

func identityOf(info fs.FileInfo) identity {
	is := identity{Size: info.Size(), Mtime: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		is.Device, is.Inode = st.Dev, st.Ino
		is.Changed = time.Unix(int64(st.Ctim.Sec), int64(st.Ctim.Nsec)).UnixNano() // their types depend on the architecture
	}
	return is
}

// written is when the file was last written to, in Unix nanoseconds.
func (i identity) written() int64 { return max(i.Mtime, i.Changed) }
