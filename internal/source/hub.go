package source

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// DefaultHub is the hub that hf:// stands for unless another is configured.
const DefaultHub = "https://huggingface.co"

// maxAnswer is how long an answer of a hub's API may be, in bytes. A page of 1000 files, the most
// that a hub sends, has 300 kB.
const maxAnswer = 16 << 20

// hub is a repository on a hub that speaks the API of huggingface.co, at a revision.
type hub struct {
	client   *client
	endpoint *url.URL
	token    string
	text     string // the source's

	repository string // ORG/NAME
	commit     string
}

// openHub lists a model's files, of which one that is kept in LFS has its SHA-256 in the list.
func openHub(ctx context.Context, c *client, s modelfile.Source, o Options) (transfer.Source, error) {
	out, err := listHub(ctx, c, s, o)
	if err != nil {
		c.close()
		return nil, err
	}
	return out, nil
}

func listHub(ctx context.Context, c *client, s modelfile.Source, o Options) (*addresses, error) {
	h, err := findHub(ctx, c, s, o)
	if err != nil {
		return nil, err
	}
	shard, isShard := s.Shard()
	folder, recursive := s.Path, true
	if isShard || !s.Folder {
		folder, recursive = parent(s.Path), false
	}
	entries, err := h.tree(ctx, folder, recursive)
	if err != nil {
		return nil, err
	}
	var wanted []string // nil: all
	switch {
	case isShard:
		wanted = shard.All()
	case !s.Folder:
		wanted = []string{path.Base(s.Path)}
	}
	out := &addresses{client: c}
	for _, e := range entries {
		if !fs.ValidPath(e.Path) {
			return nil, where{url: h.endpoint}.fail("the hub lists the file %q, which is no path in a repository", printable(e.Path))
		}
		name, inside := e.Path, true
		if folder != "" {
			name, inside = strings.CutPrefix(name, folder+"/")
		}
		if !inside {
			return nil, where{url: h.endpoint}.fail("the hub lists %q in the folder %s", printable(e.Path), folder)
		}
		if e.Type != "file" || hidden(name) || wanted != nil && !slices.Contains(wanted, name) {
			continue
		}
		f, r, err := h.file(e, name)
		if err != nil {
			return nil, err
		}
		if !s.Folder {
			f.Name = ""
		}
		out.files = append(out.files, f)
		out.remote = append(out.remote, r)
	}
	out.sort()
	if err := h.complete(out.files, wanted, s); err != nil {
		return nil, err
	}
	return out, nil
}

// complete makes sure that what is wanted was listed.
func (h *hub) complete(files []transfer.File, wanted []string, s modelfile.Source) error {
	if wanted == nil && len(files) > 0 || wanted != nil && len(files) == len(wanted) {
		return nil
	}
	what := s.Path
	switch {
	case s.Folder && wanted != nil:
		lacking := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool {
			return slices.ContainsFunc(files, func(f transfer.File) bool { return f.Name == name })
		})
		what = few(lacking)
	case s.Path == "":
		return fmt.Errorf("%s: the repository has no files at this revision", s.Text)
	}
	return fmt.Errorf("%s: the repository has no %s at this revision: look at the names at %s",
		s.Text, what, h.endpoint.JoinPath(h.repository, "tree", h.commit))
}

// sort puts the files in byte order of their names.
func (s *addresses) sort() {
	order := make([]int, len(s.files))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(s.files[a].Name, s.files[b].Name) })
	files, remote := make([]transfer.File, len(order)), make([]remoteFile, len(order))
	for to, from := range order {
		files[to], remote[to] = s.files[from], s.remote[from]
	}
	s.files, s.remote = files, remote
}

func parent(name string) string {
	if dir := path.Dir(name); dir != "." {
		return dir
	}
	return ""
}

// hidden reports whether a file, or a folder that it is in, is hidden. It is then no part of a
// model, here as on a disk.
func hidden(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return strings.HasPrefix(part, ".") })
}

// AtCommit returns the source with the commit that its revision, such as a branch, means now. A
// commit's files are always the same.
func AtCommit(ctx context.Context, s modelfile.Source, o Options) (modelfile.Source, error) {
	if s.Kind != modelfile.Hub || s.Immutable() {
		return s, nil
	}
	c := newClient(http.ProxyFromEnvironment)
	defer c.close()
	h, err := findHub(ctx, c, s, o)
	if err != nil {
		return modelfile.Source{}, err
	}
	text := "hf://" + s.Repository + "@" + h.commit
	if s.Path != "" {
		text += "/" + s.Path
	}
	return modelfile.ParseSource(text)
}

func hubAddress(o Options) (where, error) {
	endpoint := o.Hub
	if endpoint == "" {
		endpoint = DefaultHub
	}
	return parseAddress(endpoint, o.Token)
}

// resolve is where a file of the repository is.
func (h *hub) resolve(name string) where {
	return where{url: h.endpoint.JoinPath(h.repository, "resolve", h.commit).JoinPath(escaped(name)...), token: h.token}
}

// findHub finds the repository and the commit that its revision means.
func findHub(ctx context.Context, c *client, s modelfile.Source, o Options) (*hub, error) {
	w, err := hubAddress(o)
	if err != nil {
		return nil, err
	}
	h := &hub{client: c, endpoint: w.url, token: w.token, text: s.Text, repository: s.Repository, commit: s.Revision}
	if s.Immutable() {
		return h, nil
	}
	at := h.endpoint.JoinPath("api", "models", s.Repository, "revision", url.PathEscape(s.Revision))
	var found struct {
		SHA string `json:"sha"`
	}
	if _, err := h.ask(ctx, at, &found); err != nil {
		return nil, err
	}
	if !gitHash.MatchString(found.SHA) {
		return nil, where{url: at}.fail("the hub names no commit for the revision %s", s.Revision)
	}
	h.commit = found.SHA
	return h, nil
}

var gitHash = regexp.MustCompile(`^[0-9a-f]{40}$`)

// ask decodes an answer of the API, and returns its header.
func (h *hub) ask(ctx context.Context, at *url.URL, into any) (http.Header, error) {
	w := where{url: at, token: h.token}
	var header http.Header
	err := h.client.retry(ctx, triesToOpen, func() error {
		a, err := h.client.get(ctx, w, http.Header{"Accept": {"application/json"}})
		if err != nil {
			return err
		}
		defer a.body.Close()
		content, err := io.ReadAll(io.LimitReader(a.body, maxAnswer+1))
		if err != nil {
			return h.client.unanswered(w, at, err)
		}
		if len(content) > maxAnswer {
			return w.fail("the hub's answer has more than %d bytes", maxAnswer)
		}
		if err := json.Unmarshal(content, into); err != nil {
			return w.fail("the hub's answer isn't the JSON of its API: is it the address of a hub?").because(err)
		}
		header = a.Header
		return nil
	})
	return header, err
}

// treeEntry is a file or a folder in the API's list of a repository.
type treeEntry struct {
	Type string `json:"type"` // file, directory
	Path string `json:"path"`
	Size int64  `json:"size"`
	OID  string `json:"oid"` // git's hash of the blob, of the pointer if the file is in LFS
	LFS  *struct {
		OID  string `json:"oid"` // SHA-256 of the file
		Size int64  `json:"size"`
	} `json:"lfs"`
}

// tree lists a folder of the repository, page by page.
func (h *hub) tree(ctx context.Context, folder string, recursive bool) ([]treeEntry, error) {
	at := h.endpoint.JoinPath("api", "models", h.repository, "tree", h.commit).JoinPath(escaped(folder)...)
	if recursive {
		at.RawQuery = "recursive=true"
	}
	var all []treeEntry
	for {
		var page []treeEntry
		header, err := h.ask(ctx, at, &page)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		next, err := nextPage(at, header)
		if err != nil {
			return nil, where{url: at}.fail("%v", err)
		}
		if next == nil {
			return all, nil
		}
		if len(page) == 0 || len(all) > maxFiles {
			return nil, where{url: at}.fail("the hub's list doesn't end after %d files", len(all))
		}
		at = next
	}
}

var nextLink = regexp.MustCompile(`<([^>]*)>\s*;\s*rel="?next"?`)

// nextPage is the address of the next page that a Link header (RFC 8288) names. It must be at the
// hub, where a token may go.
func nextPage(at *url.URL, header http.Header) (*url.URL, error) {
	match := nextLink.FindStringSubmatch(strings.Join(header.Values("Link"), ", "))
	if match == nil {
		return nil, nil
	}
	next, err := at.Parse(match[1])
	if err != nil || origin(next) != origin(at) || next.User != nil {
		return nil, fmt.Errorf("the next page of the hub's list isn't at %s", at.Host)
	}
	return next, nil
}

// escaped are the elements of a path in the repository, as an address has them.
func escaped(name string) []string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return parts
}

// file is an entry as a file of the model.
func (h *hub) file(e treeEntry, name string) (transfer.File, remoteFile, error) {
	if err := validName(name); err != nil {
		return transfer.File{}, remoteFile{}, err
	}
	w := h.resolve(e.Path)
	f, r := transfer.File{Name: name, Size: uint64(e.Size)}, remoteFile{where: w, gitBlob: e.OID}
	size := e.Size
	if e.LFS != nil {
		f.SHA256, f.Size, r.gitBlob, size = e.LFS.OID, uint64(e.LFS.Size), "", e.LFS.Size
	}
	switch {
	case size < 0:
		return transfer.File{}, remoteFile{}, w.fail("the hub lists it with %d bytes", size)
	case e.LFS != nil && !isSHA256(f.SHA256):
		return transfer.File{}, remoteFile{}, w.fail("the hub lists it with %q for its SHA-256", printable(f.SHA256))
	case e.LFS == nil && !gitHash.MatchString(e.OID):
		return transfer.File{}, remoteFile{}, w.fail("the hub lists it with %q for its git hash", printable(e.OID))
	}
	return f, r, nil
}

// blobReader reads a whole file whose git hash is known, and fails at its end if it has another.
// That hash is a SHA-1: it finds what an accident has changed, and the model's digest the rest.
type blobReader struct {
	io.ReadCloser
	where
	want string
	sum  hash.Hash
}

func newBlobReader(r io.ReadCloser, w where, want string, size uint64) *blobReader {
	sum := sha1.New()
	fmt.Fprintf(sum, "blob %d\x00", size)
	return &blobReader{ReadCloser: r, where: w, want: want, sum: sum}
}

func (r *blobReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.sum.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(r.sum.Sum(nil)) != r.want {
		err = r.fail("its bytes aren't those of the commit: git's hash of them is %x and not %s", r.sum.Sum(nil), r.want)
	}
	return n, err
}
