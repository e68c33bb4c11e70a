package models

import (
	"context"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/verity"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// Found are the bytes of a model that the host has elsewhere.
type Found struct {
	Folder bool
	pieces []piece
}

// piece is a file of the model, and where it is.
type piece struct {
	modelfile.Entry
	in   *digest.Record
	name string // in it
}

// Find looks on the host for the bytes of a model, by what is remembered of other models; at is
// where they are wanted. entries are the model's files; without them a folder is found only as a
// whole. It is nil when something is missing.
func Find(cache digest.Cache, at string, folder bool, sha256 string, entries []modelfile.Entry) *Found {
	if !folder {
		entries = []modelfile.Entry{{SHA256: sha256}}
	}
	where := map[string]piece{} // by digest
	now := time.Now()
	for _, r := range cache.All() {
		if r.Path == at || r.Verified != nil && r.Verified.Failure != "" {
			continue
		}
		whole := make([]modelfile.Entry, 0, len(r.Files))
		for i := range r.Files {
			f := &r.Files[i]
			if f.SHA256 == "" || !holds(r, f, now) {
				continue
			}
			whole = append(whole, modelfile.Entry{Name: f.Name, SHA256: f.SHA256})
			if known, ok := where[f.SHA256]; !ok || linkable(r, at) > linkable(known.in, at) {
				where[f.SHA256] = piece{in: r, name: f.Name}
			}
		}
		if folder && len(entries) == 0 && r.Folder && len(whole) == len(r.Files) && modelfile.Digest(whole) == sha256 {
			entries = whole
		}
	}
	if folder && modelfile.Digest(entries) != sha256 {
		return nil
	}
	found := &Found{Folder: folder}
	for _, e := range entries {
		p, ok := where[e.SHA256]
		if !ok {
			return nil
		}
		p.Entry = e
		found.pieces = append(found.pieces, p)
	}
	return found
}

// linkable ranks models by how likely theirs can be linked to a path: the ones that llmhost has
// placed, and of these the ones beside it.
func linkable(r *digest.Record, at string) int {
	switch {
	case !r.Placed:
		return 0
	case path.Dir(r.Path) != path.Dir(at):
		return 1
	default:
		return 2
	}
}

func holds(r *digest.Record, known *digest.File, now time.Time) bool {
	f, is, err := openKnown(r, known.Name)
	if err != nil {
		return false
	}
	defer f.Close()
	protection, err := verity.Measure(f)
	return err == nil && known.Holds(is.Identity, protection, now)
}

// Paths are the models that the bytes are taken from.
func (f *Found) Paths() []string {
	var paths []string
	for _, p := range f.pieces {
		paths = append(paths, p.in.Path)
	}
	return paths
}

// Place makes the model at path of the bytes that were found, in place of what is there. They are
// linked where the other model is llmhost's own and has the same attributes; else they are shared
// on the disk, or copied, as the file system allows. An error that is ErrOrigin has changed nothing.
func (f *Found) Place(ctx context.Context, cache digest.Cache, at string, a durable.Attributes, progress func(file string, done, total uint64)) error {
	parent, name, err := durable.Parent(at)
	if err != nil {
		return err
	}
	defer parent.Close()
	parent.Sweep(name)
	p := &placing{found: f, attributes: a, progress: progress}
	for _, piece := range f.pieces {
		p.total += uint64(piece.in.File(piece.name).Identity.Size)
	}
	err = Keep(ctx, cache, append(f.Paths(), at), func() error {
		if f.Folder {
			return p.folder(ctx, parent, name)
		}
		return p.single(ctx, parent, name)
	})
	if err != nil {
		return err
	}
	entries := make([]modelfile.Entry, len(f.pieces))
	for i, piece := range f.pieces {
		entries[i] = piece.Entry
	}
	Placed(ctx, cache, at, f.Folder, entries)
	return nil
}

type placing struct {
	found       *Found
	attributes  durable.Attributes
	progress    func(file string, done, total uint64)
	done, total uint64
}

func (p *placing) single(ctx context.Context, parent *durable.Dir, name string) error {
	temporary := parent.Temporary(name)
	defer parent.Remove(temporary)
	if err := p.put(ctx, p.found.pieces[0], parent, temporary); err != nil {
		return err
	}
	if err := parent.Rename(temporary, name); err != nil {
		return err
	}
	return parent.Sync()
}

// put makes one file.
func (p *placing) put(ctx context.Context, from piece, to *durable.Dir, name string) error {
	known := from.in.File(from.name)
	f, is, err := openKnown(from.in, from.name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOrigin, err)
	}
	defer f.Close()
	if from.in.Placed && is.Matches(p.attributes) && link(f, is, to, name) {
		p.advance(from.Name, is.Size)
		return nil
	}
	// Shared or not, it is a copy of what the file was when its digest was made.
	fresh, err := to.CreateNew(name)
	if err != nil {
		return err
	}
	defer fresh.Close()
	before := p.done
	if err := replicate(ctx, fresh, f, known.SHA256, func(n uint64) { p.advance(from.Name, n) }); err != nil {
		return err
	}
	after, err := durable.InfoOf(f)
	if err != nil {
		return err
	}
	if after.Identity != is.Identity {
		return fmt.Errorf("%w: %s was changed while it was copied", ErrOrigin, f.Name())
	}
	p.advance(from.Name, before+is.Size-p.done)
	if err := p.attributes.SetOn(fresh); err != nil {
		return err
	}
	return fresh.Sync()
}

func (p *placing) advance(file string, n uint64) {
	if p.done += n; p.progress != nil {
		p.progress(file, p.done, p.total)
	}
}

// link gives an open file one more name, if that is possible and the name is the file's.
func link(f *os.File, is *durable.Info, to *durable.Dir, name string) bool {
	from, base, err := durable.Parent(f.Name())
	if err != nil {
		return false
	}
	defer from.Close()
	if err := from.Link(base, to, name); err != nil {
		return false
	}
	made, err := to.Lstat(name)
	if err == nil && made != nil && made.Identity.Inode == is.Identity.Inode && made.Identity.Device == is.Identity.Device {
		return true
	}
	_ = to.Remove(name)
	return false
}

// folder makes the folder under a name that nobody looks for, and then gives it its own.
func (p *placing) folder(ctx context.Context, parent *durable.Dir, name string) error {
	temporary := parent.Temporary(name)
	defer parent.RemoveAll(temporary)
	if err := parent.Mkdir(temporary, durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o700}); err != nil {
		return err
	}
	root, err := parent.OpenFolder(temporary)
	if err != nil {
		return err
	}
	defer root.Close()
	attributes := durable.Attributes{UID: p.attributes.UID, GID: p.attributes.GID, Mode: transfer.FolderMode(p.attributes.Mode)}
	for _, piece := range p.found.pieces {
		in, err := below(root, path.Dir(piece.Name), attributes)
		if err != nil {
			return err
		}
		err = p.put(ctx, piece, in, path.Base(piece.Name))
		if in != root {
			in.Close()
		}
		if err != nil {
			return err
		}
	}
	if err := root.SetAttributes(attributes); err != nil {
		return err
	}
	if err := parent.SyncFileSystem(); err != nil {
		return err
	}
	there, err := parent.Lstat(name)
	if err != nil {
		return err
	}
	if there != nil {
		err = parent.Exchange(temporary, parent, name)
	} else {
		err = parent.Rename(temporary, name)
	}
	if err != nil {
		return err
	}
	return parent.Sync()
}

// below opens a folder below root, and makes it and those on the way.
func below(root *durable.Dir, relative string, a durable.Attributes) (*durable.Dir, error) {
	if relative == "." {
		return root, nil
	}
	above, err := below(root, path.Dir(relative), a)
	if err != nil {
		return nil, err
	}
	if above != root {
		defer above.Close()
	}
	name := path.Base(relative)
	is, err := above.Lstat(name)
	if err != nil {
		return nil, err
	}
	if is == nil {
		if err := above.Mkdir(name, a); err != nil {
			return nil, err
		}
	}
	return above.OpenFolder(name)
}
