package models

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/transfer"
)

// Listed is a model, or an upload that hasn't ended, with what it costs and who uses it.
type Listed struct {
	*Model
	Partial bool
	Arrived uint64   // bytes of an upload; Size is then that of the whole model
	Changed int64    // seconds since 1970: when something last arrived, or was changed
	Disk    uint64   // bytes: what its removal sets free; shared copies (reflinks) count in full
	UsedBy  []string // units and processes
	SameAs  []string // paths that share its bytes by links
}

// List lists the models in folders, and those at paths wherever these are, sorted by path. It reads
// no model: what isn't remembered isn't known.
func List(ctx context.Context, cache digest.Cache, folders, paths []string) ([]*Listed, error) {
	candidates := map[string]bool{}
	for _, path := range paths {
		candidates[path] = true
		candidates[filepath.Join(filepath.Dir(path), transfer.PartName(filepath.Base(path)))] = true
	}
	for _, folder := range folders {
		names, err := modelsIn(folder)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			candidates[filepath.Join(folder, name)] = true
		}
	}
	var all []*Listed
	for _, path := range slices.Sorted(maps.Keys(candidates)) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := Look(ctx, cache, path, Options{Recall: true})
		if err != nil {
			m.Exists, m.Unusable = true, "it can't be looked at"
		}
		if !m.Exists {
			continue
		}
		l := &Listed{Model: m}
		_, l.Partial = transfer.PartOf(filepath.Base(path))
		if l.Partial {
			l.Unusable, l.SHA256 = "", ""
			l.Arrived, l.Size = arrived(path)
		}
		all = append(all, l)
	}
	count(all)
	return all, nil
}

func arrived(part string) (arrived, total uint64) {
	d, name, err := durable.Parent(part)
	if err != nil {
		return 0, 0
	}
	defer d.Close()
	return transfer.Arrived(d, name)
}

// modelsIn lists what in a folder looks like a model or like an upload. A folder that isn't there
// has none.
func modelsIn(folder string) ([]string, error) {
	d, err := durable.Open(folder)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Entries()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool {
		is, err := d.Lstat(name)
		if err != nil || is == nil {
			return true
		}
		if _, part := transfer.PartOf(name); part {
			return is.Type != durable.Directory
		}
		switch {
		case strings.HasPrefix(name, "."):
			return true
		case is.Type == durable.Regular:
			return !weights(name)
		case is.Type == durable.Directory:
			return !holdsWeights(d, name)
		default:
			return true
		}
	}), nil
}

// weights reports whether a file has the name of a model's.
func weights(name string) bool {
	switch filepath.Ext(name) {
	case ".gguf", ".safetensors":
		return true
	}
	return false
}

// holdsWeights reports whether a folder has a model's file right in it, as shards and repositories
// do.
func holdsWeights(d *durable.Dir, name string) bool {
	sub, err := d.OpenFolder(name)
	if err != nil {
		return false
	}
	defer sub.Close()
	names, err := sub.Entries()
	return err == nil && slices.ContainsFunc(names, weights)
}

// count finds out what is shared, what is used, and what a removal sets free.
func count(all []*Listed) {
	wanted := map[inode]bool{}
	owners := map[inode][]*Listed{}
	for _, l := range all {
		for _, f := range l.Files {
			key := inodeOf(f.Info)
			wanted[key] = true
			if !slices.Contains(owners[key], l) {
				owners[key] = append(owners[key], l)
			}
		}
	}
	used := users("/proc", wanted)
	for _, l := range all {
		l.Disk = Freed{}.Add(l)
		for _, f := range l.Files {
			key := inodeOf(f.Info)
			l.Changed = max(l.Changed, f.Info.Identity.ModifiedNano/1e9)
			for _, name := range used[key] {
				if !slices.Contains(l.UsedBy, name) {
					l.UsedBy = append(l.UsedBy, name)
				}
			}
			for _, other := range owners[key] {
				if other != l && !slices.Contains(l.SameAs, other.Path) {
					l.SameAs = append(l.SameAs, other.Path)
				}
			}
		}
		for _, is := range l.folders {
			l.Changed = max(l.Changed, is.Identity.ModifiedNano/1e9)
		}
		slices.Sort(l.UsedBy)
		slices.Sort(l.SameAs)
	}
	slices.SortFunc(all, func(a, b *Listed) int { return cmp.Compare(a.Path, b.Path) })
}

// Freed counts what removals set free: a file's bytes go with the last of its names.
type Freed map[inode]uint64

// Add counts one more removal, and returns the bytes that it sets free.
func (f Freed) Add(l *Listed) uint64 {
	var bytes uint64
	for _, file := range l.Files {
		key := inodeOf(file.Info)
		if f[key]++; f[key] == file.Info.Links {
			bytes += file.Info.Allocated
		}
	}
	return bytes
}

func inodeOf(is *durable.Info) inode { return inode{is.Identity.Device, is.Identity.Inode} }
