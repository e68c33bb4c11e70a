// Package models is what a host knows of the models on it: what they are, whether they are still
// what they were, and what uses them.
//
// It exists apart from the protocol's calls because the host keeps watch on its own, too: a timer
// and a server's start ask the same questions and must get the same answers.
package models

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/verity"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// Model is a model as it is on the host.
type Model struct {
	Path   string
	Exists bool
	Folder bool
	Files  []File // sorted by name
	Size   uint64 // bytes, of all files
	SHA256 string // of the file, or of the folder's manifest; empty when it isn't known
	// Unusable says why there is no digest, when what is there can't be a model.
	Unusable string
	// Remembered says that nothing was read: the kernel vouches for what was remembered.
	Remembered bool
	// Verified is the last verification of these very bytes; nil when there was none.
	Verified *digest.Verification
	// Placed says that llmhost has put it there.
	Placed bool

	folders []*durable.Info // the folder and those in it
	found   []digest.File   // what is to be remembered of the files, in their order
}

// File is a file of a model.
type File struct {
	Name   string // relative, with slashes; empty when the model is a single file
	Info   *durable.Info
	SHA256 string // empty when it isn't known
	Verity bool   // the kernel protects its bytes
}

// Options say how to look at a model.
type Options struct {
	Again    bool // read everything, whatever is remembered
	Recall   bool // read nothing: what isn't remembered isn't known
	Remember bool // keep what was found out
	// Progress is told how far the reading is, in bytes, for every piece that was read.
	Progress func(file string, done, total uint64)
}

// Look describes what is at a path. What isn't a model is described as far as it can be; a file
// that can't be read is an error.
func Look(ctx context.Context, cache digest.Cache, path string, o Options) (*Model, error) {
	l := &look{cache: cache, options: o, record: cache.Load(path), model: &Model{Path: path}}
	err := l.run(ctx)
	return l.model, err
}

type look struct {
	cache   digest.Cache
	options Options
	record  *digest.Record
	model   *Model

	parent *durable.Dir
	name   string // in parent
	root   *durable.Dir

	unread []int  // those of the files whose bytes must be read
	lost   string // why a file couldn't be read at the last verification
}

func (l *look) run(ctx context.Context) error {
	defer l.close()
	if err := l.survey(); err != nil || !l.model.Exists || l.model.Unusable != "" {
		return err
	}
	l.recall()
	if l.lost != "" {
		l.model.Unusable = l.lost
		return nil
	}
	if l.options.Recall {
		l.conclude()
		return nil
	}
	if err := l.read(ctx); err != nil {
		return err
	}
	l.conclude()
	if l.model.Remembered {
		return nil
	}
	if l.model.SHA256 == l.formerly() { // the same bytes, so what was verified is
		l.model.Verified = l.record.Verified
	}
	if l.options.Remember {
		l.model.Remember(l.cache)
	}
	return nil
}

// Remember keeps what was found out about a model. Look does it when it is asked to.
func (m *Model) Remember(cache digest.Cache) {
	cache.Store(&digest.Record{Path: m.Path, Folder: m.Folder, Placed: m.Placed, Files: m.found, Verified: m.Verified})
}

func (l *look) close() {
	if l.root != nil {
		l.root.Close()
	}
	if l.parent != nil {
		l.parent.Close()
	}
}

// survey finds out what there is, without reading it.
func (l *look) survey() error {
	var err error
	l.parent, l.name, err = durable.Parent(l.model.Path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		l.parent = nil
		return nil
	}
	if err != nil {
		l.parent = nil
		return err
	}
	is, err := l.parent.Lstat(l.name)
	if err != nil || is == nil {
		return err
	}
	l.model.Exists = true
	if l.record != nil {
		l.model.Placed = l.record.Placed
	}
	switch is.Type {
	case durable.Regular:
		l.add("", is)
	case durable.Directory:
		l.model.Folder = true
		l.model.folders = []*durable.Info{is}
		if l.root, err = l.parent.OpenFolder(l.name); err != nil {
			l.root = nil
			return err
		}
		if err := l.root.Walk(l.visit); err != nil {
			return err
		}
		slices.SortFunc(l.model.Files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
		if len(l.model.Files) == 0 && l.model.Unusable == "" {
			l.model.Unusable = "there is no file in the folder"
		}
	default:
		l.model.Files = []File{{Info: is}}
		l.model.Unusable = fmt.Sprintf("it is a %s", typeName(is.Type))
	}
	return nil
}

func typeName(t string) string {
	switch t {
	case durable.Symlink:
		return "symbolic link"
	case durable.Other:
		return "device, socket or pipe"
	default:
		return t
	}
}

// visit notes what is in a folder. Only regular files can be in a model's manifest, so that with
// anything else in it the folder is none: a link could lead a server to other bytes than the ones
// that were checked.
func (l *look) visit(_ *durable.Dir, _, relative string, is *durable.Info) error {
	switch is.Type {
	case durable.Regular:
		l.add(relative, is)
	case durable.Directory:
		l.model.folders = append(l.model.folders, is)
	default:
		if l.model.Unusable == "" {
			l.model.Unusable = fmt.Sprintf("%q in it is a %s, and a model consists of files and folders alone", relative, typeName(is.Type))
		}
	}
	return nil
}

func (l *look) add(name string, is *durable.Info) {
	l.model.Files = append(l.model.Files, File{Name: name, Info: is})
	l.model.Size += is.Size
}

// open opens one of the model's files.
func (l *look) open(name string) (*os.File, *durable.Info, error) {
	if l.root != nil {
		return l.root.OpenBelow(name)
	}
	return l.parent.OpenFile(l.name)
}

// recall takes what is remembered and still holds.
func (l *look) recall() {
	now := time.Now()
	l.model.found = make([]digest.File, len(l.model.Files))
	for i := range l.model.Files {
		f := &l.model.Files[i]
		l.model.found[i].Name = f.Name
		known := l.record.File(f.Name)
		protection, err := l.protection(f.Name)
		if err != nil { // it is found again when the file is read
			l.unread = append(l.unread, i)
			continue
		}
		f.Verity = protection != ""
		if l.options.Again || known == nil || !known.Holds(f.Info.Identity, protection, now) {
			l.unread = append(l.unread, i)
			continue
		}
		if known.SHA256 == "" && l.record.Verified != nil {
			l.lost = l.record.Verified.Failure
		}
		l.model.found[i], f.SHA256 = *known, known.SHA256
	}
	l.model.Remembered = len(l.unread) == 0 && l.record != nil && len(l.record.Files) == len(l.model.Files)
	if l.model.Remembered {
		l.model.Verified = l.record.Verified
	}
}

func (l *look) protection(name string) (string, error) {
	f, _, err := l.open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return verity.Measure(f)
}

// read reads the files of which nothing is remembered that holds.
func (l *look) read(ctx context.Context) error {
	var done, total uint64
	for _, i := range l.unread {
		total += l.model.Files[i].Info.Size
	}
	for _, i := range l.unread {
		f := &l.model.Files[i]
		err := l.readFile(ctx, i, func(n uint64) {
			if done += n; l.options.Progress != nil {
				l.options.Progress(f.Name, done, total)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *look) readFile(ctx context.Context, i int, progress func(n uint64)) error {
	file := &l.model.Files[i]
	f, is, err := l.open(file.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	found, err := hash(ctx, f, is, l.options.Again, progress)
	if err != nil {
		return err
	}
	found.Name = file.Name
	l.model.found[i] = *found
	file.Info, file.SHA256, file.Verity = is, found.SHA256, found.Verity != ""
	return nil
}

// hash reads a file. What it returns holds for as long as nothing changes the file, and not at
// all if something did meanwhile.
func hash(ctx context.Context, f *os.File, is *durable.Info, fromDisk bool, progress func(n uint64)) (*digest.File, error) {
	// A process that has the file mapped changes its pages without a trace until they are written
	// to the disk. After that, the next change leaves one.
	_ = f.Sync()
	if fromDisk { // and not what the memory still holds of it
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_SEQUENTIAL)
	began, err := digest.Settle(ctx, is.Identity)
	if err != nil {
		return nil, err
	}
	out := &digest.File{Identity: is.Identity}
	if out.Verity, err = verity.Measure(f); err != nil {
		return nil, err
	}
	if out.SHA256, _, err = digest.Of(ctx, counted{f, progress}); err != nil {
		return nil, err
	}
	after, err := durable.InfoOf(f)
	if err != nil {
		return nil, err
	}
	if after.Identity == is.Identity && !began.IsZero() {
		out.ReadNano = began.UnixNano()
	}
	return out, nil
}

// counted tells how much was read.
type counted struct {
	f    *os.File
	read func(n uint64)
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.f.Read(b)
	if n > 0 && c.read != nil {
		c.read(uint64(n))
	}
	return n, err
}

// conclude makes the model's digest of its files'.
func (l *look) conclude() { l.model.SHA256 = l.model.digest() }

func (m *Model) digest() string {
	entries := make([]modelfile.Entry, len(m.Files))
	for i, f := range m.Files {
		if f.SHA256 == "" {
			return ""
		}
		entries[i] = modelfile.Entry{Name: f.Name, SHA256: f.SHA256}
	}
	switch {
	case len(entries) == 0:
		return ""
	case m.Folder:
		return modelfile.Digest(entries)
	default:
		return entries[0].SHA256
	}
}

// Verity reports whether the kernel protects every file's bytes.
func (m *Model) Verity() bool {
	return len(m.Files) > 0 && !slices.ContainsFunc(m.Files, func(f File) bool { return !f.Verity })
}

// Attributes are those that the model's files agree on. The mode is 0 when they don't agree, or
// when a folder's isn't the one that belongs to it; users and groups are all that occur.
func (m *Model) Attributes() (users, groups []uint32, mode uint32) {
	first := true
	see := func(is *durable.Info) {
		users, groups = append(users, is.UID), append(groups, is.GID)
	}
	for _, f := range m.Files {
		see(f.Info)
		if first {
			mode, first = f.Info.Mode, false
		} else if mode != f.Info.Mode {
			mode = 0
		}
	}
	for _, is := range m.folders {
		see(is)
		if first {
			mode, first = is.Mode, false
		} else if len(m.Files) > 0 && is.Mode != transfer.FolderMode(mode) {
			mode = 0
		}
	}
	slices.Sort(users)
	slices.Sort(groups)
	return slices.Compact(users), slices.Compact(groups), mode
}

// Has reports whether all of the model has these attributes.
func (m *Model) Has(a durable.Attributes) bool {
	users, groups, mode := m.Attributes()
	return mode == a.Mode && len(users) == 1 && int(users[0]) == a.UID && len(groups) == 1 && int(groups[0]) == a.GID
}
