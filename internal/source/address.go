package source

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// Address is a file at an address: https, or http on this machine.
type Address struct {
	Name  string // in the model; empty when the model is a single file
	URL   string
	Token string // a secret, sent to the URL's own host and nowhere else, once it is asked for
	Size  uint64 // bytes; 0: not known

	hub string // the host that the token is for instead, if there is one
}

// Addresses opens files at addresses, sorted by name, as a source. No proxy is used. An address
// whose size isn't known is asked for it, and for the SHA-256, which a server may say.
func Addresses(ctx context.Context, list []Address) (transfer.Source, error) {
	return openAddresses(ctx, newClient(nil), list)
}

// addressesOf are the addresses that an https source stands for.
func addressesOf(s modelfile.Source, o Options) ([]Address, error) {
	w, err := parseAddress(s.URL, "")
	if err != nil {
		return nil, err
	}
	hub, err := hubAddress(o)
	if err != nil {
		return nil, err
	}
	one := Address{URL: s.URL, Token: o.Token}
	if origin(w.url) != origin(hub.url) && o.Token != "" {
		one.Token, one.hub = "", hub.url.Host
	}
	if !s.Folder {
		return []Address{one}, nil
	}
	shard, ok := s.Shard()
	if !ok {
		return nil, fmt.Errorf("the source %s names neither a .gguf file nor a shard", s.Text)
	}
	var list []Address
	for _, name := range shard.All() {
		at := *w.url
		at.Path, at.RawPath = path.Join(path.Dir(at.Path), name), ""
		a := one
		a.Name, a.URL = name, at.String()
		list = append(list, a)
	}
	return list, nil
}

// addresses is files at addresses.
type addresses struct {
	client *client
	files  []transfer.File
	remote []remoteFile // of files, in their order
}

// remoteFile is what is known of a file at an address.
type remoteFile struct {
	where
	edition edition
	gitBlob string // the SHA-1 that git gives it, for a hub's small files; else empty
}

// edition tells one content of an address from another.
type edition struct {
	tag      string // ETag, or the one of what the address redirects to
	modified string // Last-Modified
	linked   bool   // the tag is of what it redirects to, and not a condition that can be asked
}

func openAddresses(ctx context.Context, c *client, list []Address) (transfer.Source, error) {
	s := &addresses{client: c}
	for _, a := range list {
		w, err := parseAddress(a.URL, a.Token)
		if err != nil {
			return nil, err
		}
		w.hub = a.hub
		size, sum, f := a.Size, "", remoteFile{where: w}
		if size == 0 {
			err = c.retry(ctx, triesToOpen, func() (err error) {
				size, sum, f.edition, err = c.look(ctx, w)
				return err
			})
		}
		if err != nil {
			c.close()
			return nil, err
		}
		s.files = append(s.files, transfer.File{Name: a.Name, Size: size, SHA256: sum})
		s.remote = append(s.remote, f)
	}
	return s, nil
}

func (s *addresses) Files() []transfer.File { return s.files }

// ID is of the files' names, sizes and versions. An address's query is left out, since it may be
// a signature that is another every time.
func (s *addresses) ID() string {
	h := sha256.New()
	for i, f := range s.files {
		r := s.remote[i]
		fmt.Fprintf(h, "%q %d %q %q %q %q %q\n", f.Name, f.Size, f.SHA256, r.name(), r.edition.tag, r.edition.modified, r.gitBlob)
	}
	return "web:" + hex.EncodeToString(h.Sum(nil))
}

// Distant implements [transfer.Distant].
func (s *addresses) Distant() bool { return true }

func (s *addresses) Close() error {
	s.client.close()
	return nil
}

// look asks for the first byte of a file, which says how long it is. HEAD wouldn't do: an address
// that is signed for GET refuses it.
func (c *client) look(ctx context.Context, w where) (size uint64, sum string, v edition, err error) {
	a, err := c.get(ctx, w, http.Header{"Range": {"bytes=0-0"}})
	if err != nil {
		return 0, "", edition{}, err
	}
	defer a.body.Close()
	if err := w.checkContent(a); err != nil {
		return 0, "", edition{}, err
	}
	switch a.StatusCode {
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable: // an empty file has no first byte
		r, ok := parseContentRange(a.Header.Get("Content-Range"))
		if !ok || r.total < 0 || a.StatusCode == http.StatusRequestedRangeNotSatisfiable && r.total != 0 {
			return 0, "", edition{}, w.fail("the server answers the range bytes=0-0 with %q, which doesn't say how long the file is", printable(a.Header.Get("Content-Range")))
		}
		size = uint64(r.total)
	case http.StatusOK:
		if a.ContentLength < 0 {
			return 0, "", edition{}, w.fail("the server doesn't say how long the file is").
				hint("download it, and name the local file as the source")
		}
		size = uint64(a.ContentLength)
	default:
		return 0, "", edition{}, w.fail("the server answers %s", a.Status)
	}
	return size, a.sha256(), a.edition(), nil
}

// checkContent refuses an answer that isn't the file's own bytes.
func (w where) checkContent(a *answer) error {
	if encoding := a.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return w.fail("the server sends the file encoded (%s), though that wasn't asked for", printable(encoding)).
			hint("its digest would be another one; switch that off at the server")
	}
	kind, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	page := kind == "text/html" || kind == "application/xhtml+xml"
	if page && a.StatusCode/100 == 2 && !slices.Contains([]string{".html", ".htm"}, path.Ext(w.url.Path)) {
		return w.fail("the server answers with a web page instead of the file").hint("is it the address of the file itself? " + upperFirst(w.tokenHint()))
	}
	return nil
}

// edition is the answer's. An address that redirects, as a hub's do, says itself what it leads
// to, since each mirror behind it may have tags of its own.
func (a *answer) edition() edition {
	if tag := a.linked.Get("X-Linked-Etag"); tag != "" {
		return edition{tag: tag, linked: true}
	}
	return edition{tag: a.Header.Get("ETag"), modified: a.Header.Get("Last-Modified")}
}

// sha256 is the digest of the whole file, if the server says it.
func (a *answer) sha256() string {
	if tag := strings.Trim(a.linked.Get("X-Linked-Etag"), `"`); isSHA256(tag) {
		return tag
	}
	for _, field := range []struct{ name, prefix, suffix string }{
		{"Repr-Digest", "sha-256=:", ":"}, // RFC 9530
		{"Digest", "sha-256=", ""},        // RFC 3230
	} {
		for value := range strings.SplitSeq(a.Header.Get(field.name), ",") {
			value = strings.TrimSpace(value)
			if len(value) < len(field.prefix) || !strings.EqualFold(value[:len(field.prefix)], field.prefix) {
				continue
			}
			raw, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(value[len(field.prefix):], field.suffix))
			if err == nil && len(raw) == sha256.Size {
				return hex.EncodeToString(raw)
			}
		}
	}
	return ""
}

// condition is what If-Range asks for; empty: nothing that can be asked.
func (v edition) condition() string {
	switch {
	case v.linked:
		return ""
	case v.tag != "" && !strings.HasPrefix(v.tag, "W/"): // a weak tag isn't allowed there
		return v.tag
	}
	return v.modified
}

// contentRange is the value of Content-Range; -1 where it says nothing.
type contentRange struct{ first, last, total int64 }

func parseContentRange(text string) (contentRange, bool) {
	r := contentRange{-1, -1, -1}
	text, ok := strings.CutPrefix(text, "bytes ")
	if !ok {
		return r, false
	}
	span, total, ok := strings.Cut(text, "/")
	if !ok {
		return r, false
	}
	number := func(text string, to *int64) bool {
		n, err := strconv.ParseInt(text, 10, 64)
		*to = n
		return err == nil && n >= 0
	}
	if total != "*" && !number(total, &r.total) {
		return r, false
	}
	if span == "*" {
		return r, true
	}
	first, last, ok := strings.Cut(span, "-")
	return r, ok && number(first, &r.first) && number(last, &r.last) && r.first <= r.last
}

func (s *addresses) Open(ctx context.Context, file int, offset uint64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	d := &download{
		client: s.client, remoteFile: s.remote[file], ctx: ctx, cancel: cancel,
		at: min(offset, s.files[file].Size), size: s.files[file].Size,
	}
	if blob := s.remote[file].gitBlob; blob != "" && offset == 0 {
		return newBlobReader(d, s.remote[file].where, blob, d.size), nil
	}
	return d, nil
}
