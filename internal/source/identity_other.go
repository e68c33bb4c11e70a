//go:build !linux

package source

import "io/fs"

// identity changes whenever somebody writes to a file, unless they set its time back.
type identity struct {
	Size  int64 `json:"size"`
	Mtime int64 `json:"mtime"` // nanoseconds
}

func identityOf(info fs.FileInfo) identity {
	return identity{Size: info.Size(), Mtime: info.ModTime().UnixNano()}
}

// written is when the file was last written to, in Unix nanoseconds.
func (i identity) written() int64 { return i.Mtime }
