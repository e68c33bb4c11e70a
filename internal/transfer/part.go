package transfer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// The names of hidden folders.
const partPrefix, partSuffix = ".", ".llmhost-part"

// PartName is the name of the hidden folder in which a model arrives, beside it.
func PartName(name string) string { return partPrefix + name + partSuffix }

// PartOf is the name of the model that arrives in a hidden folder of this name.
func PartOf(name string) (model string, ok bool) {
	model, ok = strings.CutPrefix(name, partPrefix)
	if !ok {
		return "", false
	}
	model, ok = strings.CutSuffix(model, partSuffix)
	return model, ok && model != ""
}

const (
	holderFile = "holder" // who is sending, for people
	singleFile = "file"   // a model that is one file
	treeFolder = "tree"   // a model that is a folder
)

// lockPatience is how long a push waits for another one of the same model to end. A connection
// that was cut is noticed by its agent within this time when the client has closed it.
var lockPatience = 10 * time.Second

// part is the hidden folder in which a model arrives. It is locked while it is open.
type part struct {
	parent *durable.Dir
	dir    *durable.Dir
	name   string // of the hidden folder
	target string // of the model
	folder bool
	files  []File
	have   []spans    // what has arrived, by file
	trust  [][]extent // of that, what an earlier attempt has left, by file and offset
	log    *journal
}

// openPart opens the folder for a model, and goes on with what an earlier attempt has left of
// the same bytes. Anything else that was left is removed.
func openPart(ctx context.Context, parent *durable.Dir, name, holder string, h *agentpb.ModelHeader, files []File) (*part, error) {
	dir, err := lockPart(ctx, parent, PartName(name))
	if err != nil {
		return nil, err
	}
	p := &part{parent: parent, dir: dir, name: PartName(name), target: name, folder: h.GetFolder(), files: files,
		have: make([]spans, len(files)), trust: make([][]extent, len(files))}
	if err := p.begin(holder, identity(h, files)); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// lockPart opens and locks the hidden folder. It waits a while for another push to end.
func lockPart(ctx context.Context, parent *durable.Dir, name string) (*durable.Dir, error) {
	for deadline := time.Now().Add(lockPatience); ; {
		dir, err := parent.OpenPrivate(name)
		if errors.Is(err, unix.ENOTDIR) {
			err = removeFile(parent, name, err)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		locked, err := dir.TryLock()
		if err == nil && locked {
			if locked, err = parent.Holds(name, dir); locked { // not removed meanwhile
				return dir, nil
			}
			if err == nil {
				dir.Close()
				continue
			}
		}
		holder := readHolder(dir)
		dir.Close()
		if err != nil {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, fault.New(agentpb.Reason_IN_USE, "%s is bringing the same model now", holder).With("holder", holder).
				Hint("wait until that push ends")
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// removeFile removes a file, as older versions have left it in place of the folder. What isn't
// the agent's own file is somebody else's, and stays with the error that it is.
func removeFile(parent *durable.Dir, name string, otherwise error) error {
	is, err := parent.Lstat(name)
	if err != nil || is == nil {
		return err
	}
	if is.Type != durable.Regular || int(is.UID) != os.Geteuid() {
		return otherwise
	}
	return parent.Remove(name)
}

func readHolder(dir *durable.Dir) string {
	f, _, err := dir.OpenFile(holderFile)
	if err != nil {
		return "another push"
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1000))
	if err != nil || len(text) == 0 {
		return "another push"
	}
	return string(text)
}

// identity tells whether an upload can go on: same bytes, as far as that is known before they
// are read, in the same files.
func identity(h *agentpb.ModelHeader, files []File) string {
	sum := sha256.New()
	switch {
	case h.GetSha256() != "":
		fmt.Fprintf(sum, "pin %s\n", h.GetSha256())
	case h.GetSourceId() != "":
		fmt.Fprintf(sum, "source %q\n", h.GetSourceId())
	default: // nothing is known, so never the same
		fmt.Fprintf(sum, "once %s\n", rand.Text())
	}
	fmt.Fprintf(sum, "folder %t\n", h.GetFolder())
	for _, f := range files {
		fmt.Fprintf(sum, "%d %q\n", f.Size, f.Name)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// begin takes over what is there, or makes everything anew.
func (p *part) begin(holder, identity string) error {
	inode := p.inode()
	if log, extents, ok := loadJournal(p.dir, identity, inode); ok {
		p.log = log
		p.take(extents)
	} else {
		if err := p.clear(); err != nil {
			return err
		}
		if err := p.lay(); err != nil {
			return err
		}
		log, err := newJournal(p.dir, identity, p.inode(), p.size())
		if err != nil {
			return err
		}
		p.log = log
	}
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600}
	return p.dir.Replace(holderFile, a, func(f *os.File) error {
		_, err := io.WriteString(f, holder)
		return err
	})
}

// inode is that of the data, 0 when there is none: a kill between the rename of the data and
// the end of the folder must not make the journal speak of other data.
func (p *part) inode() uint64 {
	is, err := p.dir.Lstat(p.data())
	if err != nil || is == nil {
		return 0
	}
	return is.Identity.Inode
}

func (p *part) data() string {
	if p.folder {
		return treeFolder
	}
	return singleFile
}

func (p *part) size() uint64 {
	var n uint64
	for _, f := range p.files {
		n += f.Size
	}
	return n
}

// take trusts what an earlier attempt has written down, as far as it fits the files.
func (p *part) take(extents []extent) {
	for _, e := range slices.Backward(extents) { // what was damaged and sent again is there twice
		if e.file >= len(p.files) || e.start >= e.end || e.end > p.files[e.file].Size || !e.zero && e.end-e.start > pieceSize || p.have[e.file].overlaps(e.span) {
			continue
		}
		p.have[e.file].add(e.span)
		p.trust[e.file] = append(p.trust[e.file], e)
	}
	for i, trust := range p.trust {
		slices.SortFunc(trust, func(a, b extent) int {
			if a.start < b.start {
				return -1
			}
			return 1
		})
		if len(trust) == 0 {
			continue
		}
		if f, err := p.open(i); err == nil {
			info, err := durable.InfoOf(f)
			f.Close()
			if err == nil && info.Size == p.files[i].Size {
				continue
			}
		}
		p.have[i], p.trust[i] = nil, nil // the file isn't the one that was written
	}
}

// clear removes all that an earlier attempt has left.
func (p *part) clear() error {
	names, err := p.dir.Entries()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := p.dir.RemoveAll(n); err != nil {
			return err
		}
	}
	return nil
}

// lay makes the files, empty.
func (p *part) lay() error {
	if !p.folder {
		f, err := p.dir.CreateNew(singleFile)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Truncate(int64(p.files[0].Size))
	}
	if err := unix.Mkdirat(p.dir.FD(), treeFolder, 0o700); err != nil {
		return err
	}
	made := map[string]bool{".": true}
	for _, f := range p.files {
		if err := p.layFolder(path.Dir(f.Name), made); err != nil {
			return err
		}
		fd, err := unix.Openat(p.dir.FD(), treeFolder+"/"+f.Name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return &os.PathError{Op: "create", Path: f.Name, Err: err}
		}
		err = unix.Ftruncate(fd, int64(f.Size))
		unix.Close(fd)
		if err != nil {
			return &os.PathError{Op: "truncate", Path: f.Name, Err: err}
		}
	}
	return nil
}

func (p *part) layFolder(dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := p.layFolder(path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	if err := unix.Mkdirat(p.dir.FD(), treeFolder+"/"+dir, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return nil
}

// open opens a file. Nobody but the agent can enter the hidden folder, so that no link of
// somebody else's is in it.
func (p *part) open(file int) (*os.File, error) {
	name := singleFile
	if p.folder {
		name = treeFolder + "/" + p.files[file].Name
	}
	return p.dir.OpenReadWrite(name)
}

// reserve makes room for what is missing, so that a full disk is found before bytes are sent.
func (p *part) reserve() error {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(p.dir.FD(), &stat); err != nil {
		return err
	}
	var missing uint64
	for i, f := range p.files {
		missing += f.Size - p.have[i].total()
	}
	// A file that was reserved by an earlier attempt has its blocks already.
	if free := stat.Bavail * uint64(stat.Bsize); stat.Type == unix.TMPFS_MAGIC {
		// Reserving there means writing zeros, at the price of the copy itself.
		if missing > free {
			return unix.ENOSPC
		}
		return nil
	}
	for i, f := range p.files {
		if f.Size == 0 || len(p.have[i].missing(f.Size)) == 0 {
			continue
		}
		file, err := p.open(i)
		if err != nil {
			return err
		}
		err = unix.Fallocate(int(file.Fd()), 0, 0, int64(f.Size))
		file.Close()
		if errors.Is(err, unix.EOPNOTSUPP) { // the space can't be reserved there
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// publish gives the model its attributes and its name, once its bytes are on the disk.
func (p *part) publish(name string, a durable.Attributes) error {
	for i := range p.files {
		if err := p.finish(i, a); err != nil {
			return err
		}
	}
	if !p.folder {
		if err := p.dir.MoveTo(singleFile, p.parent, name); err != nil {
			return err
		}
		return p.parent.Sync()
	}
	if err := p.finishFolders(a); err != nil {
		return err
	}
	is, err := p.parent.Lstat(name)
	if err != nil {
		return err
	}
	if is == nil {
		err = p.dir.MoveTo(treeFolder, p.parent, name)
	} else {
		err = p.dir.Exchange(treeFolder, p.parent, name) // the old one goes with the hidden folder
	}
	if err != nil {
		return err
	}
	return p.parent.Sync()
}

func (p *part) finish(file int, a durable.Attributes) error {
	f, err := p.open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := a.SetOn(f); err != nil {
		return err
	}
	return f.Sync()
}

// finishFolders sets the folders' attributes, those of the files with the right to enter for
// whoever may read, from the innermost to the outermost.
func (p *part) finishFolders(a durable.Attributes) error {
	a.Mode = FolderMode(a.Mode)
	var dirs []string
	for _, f := range p.files {
		for dir := path.Dir(f.Name); dir != "."; dir = path.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	slices.Reverse(dirs)
	for _, dir := range append(dirs, ".") {
		d, err := p.dir.OpenFolder(path.Join(treeFolder, dir))
		if err != nil {
			return err
		}
		err = d.SetAttributes(a)
		d.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// FolderMode is the mode of a model's folders, for the mode of its files.
func FolderMode(files uint32) uint32 { return files | files&0o444>>2 }

// remove removes the hidden folder with all that is in it.
func (p *part) remove() error { return p.parent.RemoveAll(p.name) }

// close ends the use of the folder. What has arrived stays.
func (p *part) close() {
	if p.log != nil {
		p.log.close()
	}
	p.dir.Close()
}

// RemovePart removes what an interrupted push of a model has left, and refuses while a push is
// at it. What has the name and isn't llmhost's is left, with the reason NOT_OWNED.
func RemovePart(parent *durable.Dir, name string) error {
	name = PartName(name)
	is, err := parent.Lstat(name)
	if err != nil || is == nil {
		return err
	}
	if is.Type != durable.Directory {
		if is.Type == durable.Regular { // of llmhost 0.1
			return parent.Remove(name)
		}
		return nil // no agent has made it
	}
	dir, err := parent.OpenPrivate(name)
	if errors.Is(err, durable.ErrNotPrivate) {
		return fault.New(agentpb.Reason_NOT_OWNED, "llmhost has not put it there: %v", err)
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	locked, err := dir.TryLock()
	if err != nil {
		return err
	}
	if !locked {
		holder := readHolder(dir)
		return fault.New(agentpb.Reason_IN_USE, "%s is bringing it now", holder).With("holder", holder)
	}
	return parent.RemoveAll(name)
}

// validFiles checks what a header says of its files, and returns them.
func validFiles(h *agentpb.ModelHeader) ([]File, error) {
	invalid := func(format string, args ...any) ([]File, error) {
		return nil, fault.New(agentpb.Reason_INVALID, format, args...)
	}
	if !h.GetFolder() {
		files := h.GetFiles()
		if len(files) > 1 || len(files) == 1 && (files[0].GetName() != "" || files[0].GetSize() != h.GetSize()) {
			return invalid("a model that is no folder has one file without a name")
		}
		if h.GetSize() > maxSize {
			return invalid("%d bytes are too many for a file", h.GetSize())
		}
		return []File{{Size: h.GetSize(), SHA256: h.GetSha256()}}, nil
	}
	if n := len(h.GetFiles()); n == 0 || n > maxFiles {
		return invalid("a folder has between 1 and %d files, and not %d", maxFiles, n)
	}
	files := make([]File, 0, len(h.GetFiles()))
	var total uint64
	for _, f := range h.GetFiles() {
		if err := validName(f.GetName()); err != nil {
			return invalid("%q is no name for a file in a model: %v", f.GetName(), err)
		}
		if f.GetSize() > maxSize || total > maxSize {
			return invalid("%d bytes are too many for the file %q", f.GetSize(), f.GetName())
		}
		total += f.GetSize()
		files = append(files, File{Name: f.GetName(), Size: f.GetSize(), SHA256: f.GetSha256()})
	}
	names := make(map[string]bool, len(files))
	for _, f := range files {
		if names[f.Name] {
			return invalid("the model has two files of the name %q", f.Name)
		}
		names[f.Name] = true
	}
	for _, f := range files {
		for dir := path.Dir(f.Name); dir != "."; dir = path.Dir(dir) {
			if names[dir] {
				return invalid("%q would be both a file and a folder", dir)
			}
		}
	}
	if !slices.IsSortedFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) }) {
		return invalid("the files of a model must be sorted by name")
	}
	return files, nil
}

// maxSize is the largest model, in bytes: far above any, and far below where sums overflow.
const maxSize = 1 << 50

func validName(name string) error {
	switch {
	case !fs.ValidPath(name) || name == ".":
		return errors.New("it must be relative and clean")
	case len(name) > 1024:
		return errors.New("it is too long")
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return errors.New("it has a character that sha256sum would not print as it is")
	case slices.ContainsFunc(strings.Split(name, "/"), func(s string) bool { return len(s) > 255 }):
		return errors.New("a part of it is too long")
	}
	return nil
}
