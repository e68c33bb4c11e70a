// Package atomicfile writes files of this machine that are there wholly or not at all.
//
// It exists because state, keys, host files and backups must survive a process that is killed
// and a machine that loses power, at any instruction: a file is written under a name that
// nothing reads, reaches the disk, and only then gets its own name. New files are 0600, so that
// nothing is readable by others before somebody decides so. Files of a host are written by the
// agent, whose package durable also keeps root from following links.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write replaces a file, or makes it. It is 0600 afterwards; a link is replaced itself.
func Write(path string, content []byte) error { return write(path, content, (*Pending).Replace) }

// WriteNew makes a file with mode 0600. One that is there already is an error that is
// [fs.ErrExist], and stays as it is.
func WriteNew(path string, content []byte) error { return write(path, content, (*Pending).PublishNew) }

func write(path string, content []byte, end func(*Pending) error) error {
	p, err := Create(path)
	if err != nil {
		return err
	}
	defer p.Discard()
	if _, err := p.Write(content); err != nil {
		return err
	}
	return end(p)
}

// Pending is a file that doesn't have its name yet.
type Pending struct {
	*os.File
	path string
	gone bool // the temporary name
}

// Create begins a file that is to be at path, with mode 0600. Its folder must be there. End it
// with Replace or PublishNew; Discard, which may always follow, removes what wasn't ended.
func Create(path string) (*Pending, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return nil, err
	}
	return &Pending{File: f, path: path}, nil
}

// Replace gives the file its name, which it takes from another if there is one.
func (p *Pending) Replace() error {
	if err := p.finish(); err != nil {
		return err
	}
	if err := os.Rename(p.Name(), p.path); err != nil {
		return err
	}
	p.gone = true
	return SyncDir(filepath.Dir(p.path))
}

// PublishNew gives the file its name if nothing else has it; otherwise the error is
// [fs.ErrExist].
func (p *Pending) PublishNew() error {
	if err := p.finish(); err != nil {
		return err
	}
	if err := os.Link(p.Name(), p.path); err != nil { // unlike a rename, it replaces nothing
		return err
	}
	p.Discard()
	return SyncDir(filepath.Dir(p.path))
}

// finish brings the content to the disk.
func (p *Pending) finish() error {
	return errors.Join(p.Sync(), p.Close())
}

// Discard closes the file and removes its temporary name.
func (p *Pending) Discard() {
	if p.gone {
		return
	}
	p.gone = true
	_ = p.Close() // an error when it was closed already
	_ = os.Remove(p.Name())
}

// SyncDir makes names that were given or removed in a folder outlast a loss of power.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
