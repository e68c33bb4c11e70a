package lab

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// engineArchive is the engine's name in an image's folder.
const engineArchive = "llama.cpp.tar.zst"

// engineMountPoints are the folders that a sandbox mounts something on. They are in the
// archive, so that an unpacked engine need never be written to.
var engineMountPoints = []string{"dev", "models", "proc", "run", "sys", "tmp"}

// mergedUsr are the links that a Debian root file system has from / into /usr.
var mergedUsr = []string{"bin", "lib", "lib64", "sbin"}

// buildEngine writes llama.cpp of Debian, with every library that it needs, as an archive
// that is a root directory of its own.
func buildEngine(ctx context.Context, m mirror, file string) error {
	var errs []error
	for _, suite := range engineSuites {
		err := buildEngineFrom(ctx, m, suite, file)
		if err == nil || ctx.Err() != nil {
			return err
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("no llama.cpp: %w", errors.Join(errs...))
}

func buildEngineFrom(ctx context.Context, m mirror, suite, file string) error {
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	build := &debootstrap{suite: suite, variant: "extract", packages: []string{"llama.cpp-tools"}, mirror: m, tar: out}
	built := make(chan error, 1)
	go func() {
		err := build.run(ctx)
		out.Close()
		built <- err
	}()
	tree, err := readTree(in)
	if err != nil {
		io.Copy(io.Discard, in) // let the build end by itself; its own error says why
		return errors.Join(<-built, err)
	}
	if err := <-built; err != nil {
		return err
	}
	if _, ok := tree["usr/bin/llama-server"]; !ok {
		return fmt.Errorf("the package llama.cpp-tools of %s has no usr/bin/llama-server", suite)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := writeTree(f, tree); err != nil {
		f.Close()
		return fmt.Errorf("writing the engine's archive: %w", err)
	}
	return f.Close()
}

// entry is one path of an archive; its content is nil for all but files.
type entry struct {
	header  tar.Header
	content []byte
}

// readTree reads an unpacked set of packages and keeps what the engine runs on.
func readTree(r io.Reader) (map[string]entry, error) {
	tree := map[string]entry{}
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			return tree, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading mmdebstrap's archive: %w", err)
		}
		name := merged(path.Clean(h.Name))
		if !wanted(name) {
			continue
		}
		e := entry{header: tar.Header{Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, Mode: h.Mode & 0o755}}
		switch h.Typeflag {
		case tar.TypeReg:
			e.content, err = io.ReadAll(t)
			if err != nil {
				return nil, fmt.Errorf("reading mmdebstrap's archive: %w", err)
			}
		case tar.TypeLink:
			e.header.Linkname = merged(path.Clean(h.Linkname))
		case tar.TypeDir, tar.TypeSymlink:
		default:
			continue
		}
		tree[name] = e
	}
}

// merged moves a path of the old layout to where it is in the merged one.
func merged(name string) string {
	top, _, _ := strings.Cut(name, "/")
	if slices.Contains(mergedUsr, top) {
		return path.Join("usr", name)
	}
	return name
}

// wanted says whether a path is the engine's: its programs, libraries, data, and the little of
// /etc that libraries read. What other packages bring along is not, least of all programs that
// whoever took over a server would like to find, such as wget.
func wanted(name string) bool {
	switch dir := path.Dir(name); {
	case dir == "usr/bin":
		return strings.HasPrefix(path.Base(name), "llama-")
	case path.Base(dir) == "gconv" || path.Base(name) == "gconv":
		return false // converters between character sets
	}
	for _, dir := range []string{"usr/lib", "usr/lib64", "usr/share/llama.cpp", "etc/ld.so.conf.d", "etc/ssl"} {
		if within(name, dir) {
			return true
		}
	}
	return false
}

func within(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// writeTree writes the tree as a zstd-compressed tar whose bytes depend on the packages alone:
// sorted, owned by root, with one time for all.
func writeTree(w io.Writer, tree map[string]entry) error {
	add := func(h tar.Header) { tree[h.Name] = entry{header: h} }
	for _, link := range mergedUsr {
		add(tar.Header{Typeflag: tar.TypeSymlink, Name: link, Linkname: "usr/" + link, Mode: 0o777})
		if _, ok := tree["usr/"+link]; !ok {
			add(tar.Header{Typeflag: tar.TypeDir, Name: "usr/" + link, Mode: 0o755})
		}
	}
	for _, dir := range engineMountPoints {
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755})
	}
	for _, name := range slices.Collect(maps.Keys(tree)) { // folders that no package lists
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := tree[dir]; !ok {
				add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755})
			}
		}
	}

	// One thread: the compressor's blocks then end at the same places every time.
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	for _, name := range linkOrder(tree) {
		e := tree[name]
		e.header.Size = int64(len(e.content))
		e.header.ModTime = time.Unix(0, 0)
		e.header.Uname, e.header.Gname = "root", "root"
		if e.header.Typeflag == tar.TypeDir {
			e.header.Name += "/"
		}
		if err := t.WriteHeader(&e.header); err != nil {
			return err
		}
		if _, err := t.Write(e.content); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return z.Close()
}

// linkOrder sorts the names, with hard links last, since their targets must be there first.
func linkOrder(tree map[string]entry) []string {
	names := slices.Sorted(maps.Keys(tree))
	slices.SortStableFunc(names, func(a, b string) int {
		rank := func(name string) int {
			if tree[name].header.Typeflag == tar.TypeLink {
				return 1
			}
			return 0
		}
		return rank(a) - rank(b)
	})
	return names
}
