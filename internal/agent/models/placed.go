package models

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/verity"
	"github.com/llmhost/llmhost/internal/modelfile"
)

// Placed is called once a model that llmhost has written has its name and its attributes. It has
// the kernel protect the bytes where it can, which reads them once more, and remembers what they
// are, so that nobody has to read them to know. entries are the files, with an empty name for a
// model that is a single file.
//
// Nothing depends on its success: what can't be protected isn't, and what can't be remembered is
// read again.
func Placed(ctx context.Context, cache digest.Cache, path string, folder bool, entries []modelfile.Entry) {
	l := &look{model: &Model{Path: path, Folder: folder, Placed: true}, cache: cache}
	defer l.close()
	if err := l.survey(); err != nil || l.model.Folder != folder || len(l.model.Files) != len(entries) || l.model.Unusable != "" {
		return
	}
	l.model.Placed = true
	for _, e := range entries {
		found, err := l.seal(ctx, e)
		if err != nil {
			return
		}
		l.model.found = append(l.model.found, *found)
	}
	slices.SortFunc(l.model.found, func(a, b digest.File) int { return cmp.Compare(a.Name, b.Name) })
	l.model.Remember(cache)
}

func (l *look) seal(ctx context.Context, e modelfile.Entry) (*digest.File, error) {
	f, is, err := l.open(e.Name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	protect := verity.Enable
	if is.Links > 1 { // it is somebody else's file too, who may want to write to it
		protect = verity.Measure
	}
	protection, err := protect(f)
	if err != nil {
		protection = ""
	}
	return settled(ctx, f, &digest.File{Name: e.Name, SHA256: e.SHA256, Verity: protection})
}

// settled has what is known of a file hold from now on.
func settled(ctx context.Context, f *os.File, known *digest.File) (*digest.File, error) {
	is, err := durable.InfoOf(f)
	if err != nil {
		return nil, err
	}
	when, err := digest.Settle(ctx, is.Identity)
	if err != nil {
		return nil, err
	}
	after, err := durable.InfoOf(f)
	if err != nil {
		return nil, err
	}
	out := *known
	out.Identity, out.ReadNano = is.Identity, 0
	if after.Identity == is.Identity && !when.IsZero() {
		out.ReadNano = when.UnixNano()
	}
	return &out, nil
}

// Keep runs a change of names or attributes of the models at paths. These are in the files'
// identities, so that what is remembered would be lost, also of other models that share the files
// by links. Keep has it hold on, for each file whose bytes can't have changed meanwhile.
func Keep(ctx context.Context, cache digest.Cache, paths []string, change func() error) error {
	held := holdings(cache, paths)
	err := change()
	for _, h := range held {
		h.renew(ctx, cache)
	}
	return err
}

// holding is what is remembered of a model and what of it holds before a change.
type holding struct {
	record *digest.Record
	files  []int
}

// holdings finds what is remembered of the models' files, as theirs and as others'.
func holdings(cache digest.Cache, paths []string) []*holding {
	shared := map[inode]bool{}
	for _, path := range paths {
		if own := cache.Load(path); own != nil {
			for _, f := range own.Files {
				shared[inode{f.Identity.Device, f.Identity.Inode}] = true
			}
		}
	}
	if len(shared) == 0 {
		return nil
	}
	var held []*holding
	for _, r := range cache.All() {
		h := &holding{record: r}
		for i := range r.Files {
			known := &r.Files[i]
			if !shared[inode{known.Identity.Device, known.Identity.Inode}] {
				continue
			}
			if f, is, err := openKnown(r, known.Name); err == nil {
				protection, err := verity.Measure(f)
				f.Close()
				if err == nil && known.Holds(is.Identity, protection, time.Now()) {
					h.files = append(h.files, i)
				}
			}
		}
		if len(h.files) > 0 {
			held = append(held, h)
		}
	}
	return held
}

func (h *holding) renew(ctx context.Context, cache digest.Cache) {
	changed := false
	for _, i := range h.files {
		known := h.record.Files[i]
		f, is, err := openKnown(h.record, known.Name)
		if err != nil {
			continue
		}
		was := known.Identity
		was.StatusChangeNano = is.Identity.StatusChangeNano
		if is.Identity != known.Identity && was == is.Identity {
			if renewed, err := settled(ctx, f, &known); err == nil {
				h.record.Files[i], changed = *renewed, true
			}
		}
		f.Close()
	}
	if changed {
		cache.Store(h.record)
	}
}

func openKnown(r *digest.Record, name string) (*os.File, *durable.Info, error) {
	d, base, err := durable.Parent(r.Path)
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	if !r.Folder {
		return d.OpenFile(base)
	}
	root, err := d.OpenFolder(base)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	return root.OpenBelow(name)
}
