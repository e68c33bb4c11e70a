package durable

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A tree that is larger or deeper isn't looked at to its end: whoever may write in it could
// otherwise fill the agent's memory. The largest repository of a model has some thousand files.
const (
	maxEntries = 200_000
	maxDepth   = 64
)

// Walk calls visit for everything below the folder, with the open folder that it is in, its name
// there, and its name relative to d, with slashes. It enters folders, after they were visited,
// and follows no link. What vanishes meanwhile is left out.
func (d *Dir) Walk(visit func(in *Dir, name, relative string, is *Info) error) error {
	left := maxEntries
	return d.walk("", maxDepth, &left, visit)
}

func (d *Dir) walk(prefix string, depth int, left *int, visit func(in *Dir, name, relative string, is *Info) error) error {
	names, err := d.Entries()
	if err != nil {
		return err
	}
	slices.Sort(names)
	if *left -= len(names); *left < 0 {
		return fmt.Errorf("there are more than %d files in it", maxEntries)
	}
	if depth == 0 && len(names) > 0 {
		return fmt.Errorf("the folders in it are more than %d deep", maxDepth)
	}
	for _, name := range names {
		is, err := d.Lstat(name)
		if err != nil {
			return err
		}
		if is == nil {
			continue
		}
		relative := path.Join(prefix, name)
		if err := visit(d, name, relative, is); err != nil {
			return err
		}
		if is.Type != Directory {
			continue
		}
		sub, err := d.OpenFolder(name)
		if err != nil {
			return err
		}
		err = sub.walk(relative, depth-1, left, visit)
		sub.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// Discard removes an entry with all that is in it, so that whoever looks, also after a power cut,
// finds either all of it under its name or nothing: it has lost its name before the first file goes.
func (d *Dir) Discard(name string) error {
	is, err := d.Lstat(name)
	if err != nil || is == nil {
		return err
	}
	if is.Type != Directory {
		return d.Remove(name)
	}
	doomed := temporaryPrefix(name) + random()
	if err := d.Rename(name, doomed); err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	return d.RemoveAll(doomed)
}

// OpenBelow opens a regular file below the folder, by its relative name with slashes. No link on
// the way is followed, whoever has put it there, and nothing leads out of the folder.
func (d *Dir) OpenBelow(relative string) (*os.File, *Info, error) {
	if !filepath.IsLocal(relative) || path.Clean(relative) != relative || relative == "." {
		return nil, nil, d.fail("open", relative, fs.ErrInvalid)
	}
	folder, name := path.Split(relative)
	at := d
	for _, step := range strings.FieldsFunc(folder, func(r rune) bool { return r == '/' }) {
		next, err := at.OpenFolder(step)
		if at != d {
			at.Close()
		}
		if err != nil {
			return nil, nil, err
		}
		at = next
	}
	if at != d {
		defer at.Close()
	}
	return at.OpenFile(name)
}

// Temporary is a fresh name beside an entry. What is left under it is removed by Sweep.
func (d *Dir) Temporary(name string) string { return temporaryPrefix(name) + random() }

// Link gives a file of another folder of the same file system one more name. A symbolic link isn't
// followed.
func (d *Dir) Link(name string, to *Dir, toName string) error {
	return to.fail("link", toName, unix.Linkat(d.fd(), name, to.fd(), toName, 0))
}
