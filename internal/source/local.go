package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// maxFiles is how many files a model may have. The largest repositories have some thousands; a
// folder with more is a home folder that was named by mistake.
const maxFiles = 100_000

// Local opens a file, or a folder, of this machine. A folder's files are those in it and below
// it, without hidden ones (.git, .cache) and those in hidden folders. A link that leads to
// somewhere in the folder is followed, as is one of a hub cache's snapshot to its blob; one that
// leaves it is an error. The name of a GGUF shard stands for all shards of its set.
//
// A file's SHA-256 is known if the cache remembers it. The cache may be nil.
func Local(path string, folder bool, cache *Cache) (transfer.Source, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("the source %s: %w", path, err)
	}
	s := &local{cache: cache}
	shard, isShard := modelfile.ParseShard(filepath.Base(path))
	switch {
	case folder && isShard:
		err = s.addShards(filepath.Dir(path), shard.All())
	case folder:
		err = s.addFolder(path)
	default:
		err = s.addFile("", path)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// local is files of this machine.
type local struct {
	cache  *Cache
	files  []transfer.File
	places []place // of files, in their order

	holes struct { // the file whose holes were last asked for
		sync.Mutex
		file int
		*os.File
	}
}

// place is where a file's bytes are, and what they were when it was listed.
type place struct {
	path string // with links resolved
	is   identity
}

func (s *local) Files() []transfer.File { return s.files }

func (s *local) ID() string {
	h := sha256.New()
	for i, f := range s.files {
		fmt.Fprintf(h, "%q %+v\n", f.Name, s.places[i].is)
	}
	return "local:" + hex.EncodeToString(h.Sum(nil))
}

func (s *local) Close() error {
	s.holes.Lock()
	defer s.holes.Unlock()
	if s.holes.File != nil {
		s.holes.File.Close() // it was only looked at
		s.holes.File = nil
	}
	return nil
}

// Remember implements [Remembering].
func (s *local) Remember(file int, sha256 string) {
	s.cache.store(s.places[file].path, s.places[file].is, sha256)
}

// addFile adds a file under a name of the model.
func (s *local) addFile(name, path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return missing(path, err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return missing(path, err)
	}
	if info.IsDir() {
		return fmt.Errorf("the source %s is a folder: the name of a folder model doesn't end in .gguf", path)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("the source %s is neither a file nor a folder", path)
	}
	is := identityOf(info)
	s.files = append(s.files, transfer.File{Name: name, Size: uint64(info.Size()), SHA256: s.cache.find(real, is)})
	s.places = append(s.places, place{path: real, is: is})
	return nil
}

// missing puts an error of a path that should be there into words.
func missing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return missingError(fmt.Sprintf("the source %s isn't on this machine: download it, or correct the path", path))
	}
	return fmt.Errorf("read the source: %w", err)
}

// missingError says that something isn't there, in its own words alone.
type missingError string

func (e missingError) Error() string { return string(e) }
func (e missingError) Unwrap() error { return fs.ErrNotExist }

// addShards adds the shards of a GGUF model that lie in a folder.
func (s *local) addShards(folder string, names []string) error {
	var lacking []string
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(folder, name)); errors.Is(err, fs.ErrNotExist) {
			lacking = append(lacking, name)
		}
	}
	if len(lacking) > 0 {
		return missingError(fmt.Sprintf("the source lacks %s in %s, and the model has %d shards: get the missing ones",
			few(lacking), folder, len(names)))
	}
	for _, name := range names {
		if err := s.addFile(name, filepath.Join(folder, name)); err != nil {
			return err
		}
	}
	return nil
}

// addFolder adds the files in a folder and below it.
func (s *local) addFolder(path string) error {
	root, err := filepath.EvalSymlinks(path)
	if err != nil {
		return missing(path, err)
	}
	info, err := os.Stat(root)
	if err != nil {
		return missing(path, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("the source %s is a file, and a model that is one file has a name that ends in .gguf", path)
	}
	if snapshots := snapshotsOf(root); len(snapshots) > 0 {
		return fmt.Errorf("the source %s is a hub's cache and not a model: name one of its snapshots, %s", path, few(snapshots))
	}
	w := folderWalk{source: s, within: []string{root}}
	if blobs := blobsOf(root); blobs != "" {
		w.within = append(w.within, blobs)
	}
	if err := w.walk(root, "", nil); err != nil {
		return err
	}
	if len(s.files) == 0 {
		return fmt.Errorf("the source %s has no files (hidden ones don't count)", path)
	}
	s.sort()
	return nil
}

// sort puts the files in byte order of their names, which is the manifest's.
func (s *local) sort() {
	order := make([]int, len(s.files))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(s.files[a].Name, s.files[b].Name) })
	files, places := make([]transfer.File, len(order)), make([]place, len(order))
	for to, from := range order {
		files[to], places[to] = s.files[from], s.places[from]
	}
	s.files, s.places = files, places
}

// folderWalk collects a folder's files.
type folderWalk struct {
	source *local
	within []string // where links may lead
}

// walk adds what is in a folder. prefix is its name in the model, and above are the folders that
// lead to it, so that a link to one of them isn't followed for ever.
func (w folderWalk) walk(folder, prefix string, above []string) error {
	if slices.Contains(above, folder) {
		return fmt.Errorf("in the source, a link below %s leads back to it: remove the link", folder)
	}
	above = append(slices.Clone(above), folder)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("read the source: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path, name := filepath.Join(folder, e.Name()), prefix+e.Name()
		if err := validName(name); err != nil {
			return err
		}
		kind := e.Type()
		if kind&fs.ModeSymlink != 0 {
			if path, kind, err = w.follow(path); err != nil {
				return err
			}
		}
		switch {
		case kind.IsDir():
			err = w.walk(path, name+"/", above)
		case kind.IsRegular():
			if len(w.source.files) == maxFiles {
				return fmt.Errorf("the source has more than %d files: is it the model's folder?", maxFiles)
			}
			err = w.source.addFile(name, path)
		default:
			err = fmt.Errorf("in the source, %s is neither a file nor a folder: a model has nothing else", path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// follow resolves a link that may not leave the source.
func (w folderWalk) follow(link string) (path string, kind fs.FileMode, err error) {
	path, err = filepath.EvalSymlinks(link)
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, fmt.Errorf("in the source, the link %s leads to nothing: is the download complete?", link)
	}
	if err != nil {
		return "", 0, fmt.Errorf("read the source: %w", err)
	}
	inside := slices.ContainsFunc(w.within, func(root string) bool {
		return path == root || strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/")
	})
	if !inside {
		return "", 0, fmt.Errorf("in the source, the link %s leads out of the folder, to %s: put the file itself there", link, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", 0, fmt.Errorf("read the source: %w", err)
	}
	return path, info.Mode().Type(), nil
}

// blobsOf is the folder that the links of a hub cache's snapshot lead to: models--ORG--NAME has
// snapshots/REVISION beside blobs. It is empty when the folder is in no snapshot.
func blobsOf(root string) string {
	for dir := root; filepath.Dir(dir) != dir; dir = filepath.Dir(dir) {
		if filepath.Base(filepath.Dir(dir)) != "snapshots" {
			continue
		}
		blobs := filepath.Join(filepath.Dir(filepath.Dir(dir)), "blobs")
		if info, err := os.Stat(blobs); err == nil && info.IsDir() {
			return blobs
		}
	}
	return ""
}

// snapshotsOf are the snapshots in a folder that is a hub's cache of one repository.
func snapshotsOf(root string) []string {
	for _, part := range []string{"blobs", "refs"} {
		if _, err := os.Stat(filepath.Join(root, part)); err != nil {
			return nil
		}
	}
	snapshots, _ := filepath.Glob(filepath.Join(root, "snapshots", "*"))
	return snapshots
}

// validName refuses a name that sha256sum would write in another way than it is, or that can't
// be shown.
func validName(name string) error {
	if !utf8.ValidString(name) || strings.Contains(name, `\`) || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("in the source, the name %q holds a backslash, a control character or bytes that aren't UTF-8: rename it", name)
	}
	return nil
}

// few lists the first of some names.
func few(names []string) string {
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func (s *local) Open(_ context.Context, file int, offset uint64) (io.ReadCloser, error) {
	f, err := s.open(file)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(int64(offset), io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return &localReader{file: f, path: s.places[file].path, is: s.places[file].is, left: s.files[file].Size - min(offset, s.files[file].Size)}, nil
}

// open opens a file that is still the one that was listed.
func (s *local) open(file int) (*os.File, error) {
	o := s.places[file]
	f, err := os.Open(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is gone", transfer.ErrChanged, o.path)
	}
	if err != nil {
		return nil, err
	}
	if err := unchanged(f, o.path, o.is); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func unchanged(f *os.File, path string, was identity) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if identityOf(info) != was {
		return fmt.Errorf("%w: %s was written to", transfer.ErrChanged, path)
	}
	return nil
}

// localReader reads a file that must stay as it was listed.
type localReader struct {
	file *os.File
	path string
	is   identity
	left uint64 // bytes
}

// Read looks at the file after each piece, which costs nothing beside reading it, so that what it
// returns is what was listed.
func (r *localReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.file.Read(p[:min(uint64(len(p)), r.left)])
	if changed := unchanged(r.file, r.path, r.is); changed != nil {
		return 0, changed
	}
	r.left -= uint64(n)
	if errors.Is(err, io.EOF) { // before the end that its size promises
		err = fmt.Errorf("read %s: %w", r.path, io.ErrUnexpectedEOF)
	}
	return n, err
}

func (r *localReader) Close() error { return r.file.Close() }
