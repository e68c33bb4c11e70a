// Package archivetest makes archives for tests, the hostile ones too.
package archivetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"

	"github.com/klauspost/compress/zstd"
)

// Entry is a header with the content that follows it.
type Entry struct {
	tar.Header
	Content string
}

// File is a file that nobody runs.
func File(name, content string) Entry { return regular(name, content, 0o600) }

// Program is a file that may be run.
func Program(name, content string) Entry { return regular(name, content, 0o700) }

func regular(name, content string, mode int64) Entry {
	return Entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(content))}, content}
}

// Dir is a folder.
func Dir(name string) Entry {
	return Entry{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o700}}
}

// Symlink is a symbolic link.
func Symlink(name, target string) Entry {
	return Entry{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}}
}

// Link is a hard link.
func Link(name, target string) Entry {
	return Entry{Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}}
}

// Tar puts entries into an archive. It panics where the format can't hold them.
func Tar(entries ...Entry) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		must(w.WriteHeader(&e.Header))
		_, err := w.Write([]byte(e.Content))
		must(err)
	}
	must(w.Close())
	return out.Bytes()
}

// Gzip compresses.
func Gzip(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	must(err)
	must(w.Close())
	return out.Bytes()
}

// Zstd compresses.
func Zstd(b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	must(err)
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
