package systemd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/durable"
)

const (
	adminFolder   = "/etc/systemd/system"
	runtimeFolder = "/run/systemd/system"
)

// shadowing are the folders whose unit files systemd prefers to those in adminFolder, and that
// don't belong to a program that would write them again (systemd.unit(5), UNIT FILE LOAD PATH).
var shadowing = []string{"/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient"}

// dropInFolders hold drop-ins that an administrator, `systemctl edit` or `systemctl
// set-property` has made.
var dropInFolders = append(slices.Clone(shadowing), adminFolder, "/etc/systemd/system.attached", runtimeFolder, "/run/systemd/system.attached")

// maxText is the largest unit file or drop-in that is read, in bytes.
const maxText = 1 << 20

// Files are the unit files of a machine below a root directory.
type Files struct {
	Root string
}

// Text is a file's content or where a symbolic link leads.
type Text struct {
	Content    string
	Link       string
	Attributes durable.Attributes // of a file
}

// Says reports whether it is a file with that content.
func (t Text) Says(content string) bool { return t.Link == "" && t.Content == content }

// String is the content, or a note for a link: what it leads to isn't the unit's.
func (t Text) String() string {
	if t.Link != "" {
		return fmt.Sprintf("<link to %s>", t.Link)
	}
	return t.Content
}

// masks reports whether it takes a unit out of service.
func (t Text) masks() bool { return t.Link == "/dev/null" }

// Configuration is all that is on the disk for one unit, except what its distribution ships.
type Configuration struct {
	Unit    *Text           // the file in /etc/systemd/system
	DropIns map[string]Text // by path
	Others  map[string]Text // unit files of the name elsewhere that come before it or mask it
}

// Exists reports whether the unit file is at its place.
func (c *Configuration) Exists() bool { return c.Unit != nil && c.Unit.Link == "" }

// Masked reports whether the unit is masked.
func (c *Configuration) Masked() bool {
	if c.Unit != nil && c.Unit.masks() {
		return true
	}
	for _, t := range c.Others {
		if t.masks() {
			return true
		}
	}
	return false
}

// ShadowedBy is the path of a unit file that systemd prefers to the one at its place, if there is
// one that doesn't mask.
func (c *Configuration) ShadowedBy() string {
	for _, p := range slices.Sorted(maps.Keys(c.Others)) {
		if t := c.Others[p]; !t.masks() {
			return p
		}
	}
	return ""
}

// UnitPath is where a unit's file is.
func UnitPath(name string) string { return path.Join(adminFolder, name) }

// Load reads what is there for a unit.
func (f Files) Load(name string) (*Configuration, error) {
	c := &Configuration{DropIns: map[string]Text{}, Others: map[string]Text{}}
	unit, err := f.read(UnitPath(name))
	if err != nil {
		return nil, err
	}
	c.Unit = unit
	for _, folder := range append(slices.Clone(shadowing), runtimeFolder) {
		p := path.Join(folder, name)
		t, err := f.read(p)
		if err != nil {
			return nil, err
		}
		// A file in /run/systemd/system gives way to the one in /etc, unless it masks.
		if t != nil && (folder != runtimeFolder || t.masks()) {
			c.Others[p] = *t
		}
	}
	for _, folder := range dropInFolders {
		if err := f.loadDropIns(path.Join(folder, name+".d"), c.DropIns); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (f Files) loadDropIns(folder string, into map[string]Text) error {
	entries, err := os.ReadDir(f.at(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if path.Ext(e.Name()) != ".conf" || strings.HasPrefix(e.Name(), ".") {
			continue // systemd reads no others
		}
		p := path.Join(folder, e.Name())
		t, err := f.read(p)
		if err != nil {
			return err
		}
		if t != nil {
			into[p] = *t
		}
	}
	return nil
}

// Changed is when what is there for a unit last changed: a file, or which files there are.
func (f Files) Changed(name string, c *Configuration) (time.Time, error) {
	paths := slices.Collect(maps.Keys(c.all(name)))
	for _, folder := range dropInFolders {
		paths = append(paths, path.Join(folder, name+".d"))
	}
	var last time.Time
	for _, p := range paths {
		info, err := os.Lstat(f.at(p))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return last, err
		}
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last, nil
}

// Read returns the text of one file, for drop-ins that apply to several units.
func (f Files) Read(p string) (string, error) {
	t, err := f.read(p)
	if err != nil || t == nil {
		return "", err
	}
	return t.String(), nil
}

// Has reports whether there is anything at a path.
func (f Files) Has(p string) bool {
	if p == "" {
		return false
	}
	is, err := durable.Lstat(f.at(p))
	return err == nil && is != nil
}

func (f Files) at(p string) string { return filepath.Join(f.Root, p) }

func (f Files) read(p string) (*Text, error) {
	d, name, err := durable.Parent(f.at(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	is, err := d.Lstat(name)
	if is == nil || err != nil {
		return nil, err
	}
	if is.Type == durable.Symlink {
		target, err := os.Readlink(f.at(p))
		return &Text{Link: target}, err
	}
	file, is, err := d.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxText+1))
	if err == nil && len(content) > maxText {
		err = fmt.Errorf("%s is larger than %d bytes, which no unit file needs to be", p, maxText)
	}
	a := durable.Attributes{UID: int(is.UID), GID: int(is.GID), Mode: is.Mode}
	return &Text{Content: string(content), Attributes: a}, err
}

// Install makes the configuration such that the unit consists of this text and these drop-ins
// alone. It reports whether it had to change anything. was is the present configuration.
func (f Files) Install(name string, was *Configuration, content string, dropIns map[string]string) (changed bool, err error) {
	want := &Configuration{Unit: &Text{Content: content, Attributes: attributes()}, DropIns: map[string]Text{}}
	for p, text := range dropIns {
		want.DropIns[p] = Text{Content: text, Attributes: attributes()}
	}
	return f.become(name, was, want)
}

// Restore puts back what Load has found, after an Install or some of it.
func (f Files) Restore(name string, was *Configuration) error {
	now, err := f.Load(name)
	if err != nil {
		return err
	}
	_, err = f.become(name, now, was)
	return err
}

// timerStamps is where systemd keeps when a timer with Persistent= has last fired
// (systemd.timer(5)).
const timerStamps = "/var/lib/systemd/timers"

// Remove removes all that is there for a unit. The unit doesn't run any more.
func (f Files) Remove(name string, was *Configuration) error {
	if _, err := f.become(name, was, &Configuration{}); err != nil {
		return err
	}
	err := f.remove(timerStamps + "/stamp-" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// become writes before it removes, so that a full disk takes nothing away.
func (f Files) become(name string, was, want *Configuration) (changed bool, err error) {
	from, to := was.all(name), want.all(name)
	for _, p := range slices.Sorted(maps.Keys(to)) {
		if is, there := from[p]; !there || is != to[p] {
			changed = true
			if err := f.write(p, to[p]); err != nil {
				return changed, err
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(from)) {
		if _, stays := to[p]; !stays {
			changed = true
			if err := f.remove(p); err != nil {
				return changed, err
			}
		}
	}
	return changed, nil
}

func (c *Configuration) all(name string) map[string]Text {
	files := maps.Clone(c.Others)
	if files == nil {
		files = map[string]Text{}
	}
	maps.Copy(files, c.DropIns)
	if c.Unit != nil {
		files[UnitPath(name)] = *c.Unit
	}
	return files
}

// attributes are those of a unit file: readable for all, as systemd asks for.
func attributes() durable.Attributes {
	return durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o644}
}

func (f Files) write(p string, t Text) error {
	parents, err := durable.MissingParents(f.at(p))
	if err != nil {
		return err
	}
	if err := durable.MakeParents(parents, durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o755}); err != nil {
		return err
	}
	if t.Link == "" {
		return durable.WriteFile(f.at(p), []byte(t.Content), t.Attributes)
	}
	if err := os.Remove(f.at(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(t.Link, f.at(p))
}

// remove removes a file, and the folder of drop-ins that it leaves empty.
func (f Files) remove(p string) error {
	d, name, err := durable.Parent(f.at(p))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Remove(name); err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	if folder := path.Dir(p); path.Ext(folder) == ".d" {
		os.Remove(f.at(folder)) // fails while something is in it
	}
	return nil
}
