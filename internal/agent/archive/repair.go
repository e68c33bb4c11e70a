package archive

import (
	"errors"
	"io/fs"
	"os"
	"path"

	"github.com/llmhost/llmhost/internal/agent/durable"
)

// Repair puts back what Compare has found, from a fresh copy that was unpacked beside the
// folder. Only that is touched: a server that runs from the folder keeps all of its other
// files, and the mounts that it has below it. Both names are of folders in root; the folder's own
// attributes are its caller's business.
func (m *Manifest) Repair(root *os.Root, fresh, folder string, modified []string) error {
	entries := make(map[string]*Entry, len(m.Entries))
	for i := range m.Entries {
		entries[m.Entries[i].Path] = &m.Entries[i]
	}
	for _, p := range modified { // sorted, so that folders come before what is in them
		at := path.Join(folder, p)
		e := entries[p]
		if e == nil {
			if err := root.RemoveAll(at); err != nil {
				return err
			}
			continue
		}
		if err := e.repair(root, path.Join(fresh, p), at); err != nil {
			return err
		}
	}
	below, err := root.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer below.Close()
	return m.Remember(below)
}

func (e *Entry) repair(root *os.Root, from, to string) error {
	info, err := root.Lstat(to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := err == nil
	if there && info.IsDir() != (e.Type == durable.Directory) {
		if err := root.RemoveAll(to); err != nil {
			return err
		}
		there = false
	}
	if e.Type != durable.Directory {
		return root.Rename(from, to)
	}
	if !there {
		if err := root.Mkdir(to, 0o700); err != nil {
			return err
		}
	}
	if err := root.Lchown(to, os.Geteuid(), os.Getegid()); err != nil {
		return err
	}
	return root.Chmod(to, os.FileMode(e.Mode))
}
