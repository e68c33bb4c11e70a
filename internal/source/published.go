package source

import (
	"context"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/llmhost/llmhost/internal/modelfile"
)

// maxPublished is how long a file with one digest is, in bytes, at most.
const maxPublished = 4 << 10

// Published returns the SHA-256 that stands beside a single file at an address, in a file of the
// same name with .sha256 behind it, as sha256sum writes it. It is empty if there is none.
func Published(ctx context.Context, s modelfile.Source, o Options) (string, error) {
	list, err := addressesOf(s, o)
	if err != nil || s.Folder || len(list) != 1 {
		return "", err
	}
	w, err := parseAddress(list[0].URL, list[0].Token)
	if err != nil {
		return "", err
	}
	w.hub = list[0].hub
	w.url.Path, w.url.RawPath = w.url.Path+".sha256", ""
	c := newClient(http.ProxyFromEnvironment)
	defer c.close()
	a, err := c.get(ctx, w, nil)
	if err != nil {
		return "", ctx.Err() // nothing is published, as far as anybody can tell
	}
	defer a.body.Close()
	text, err := io.ReadAll(io.LimitReader(a.body, maxPublished))
	if err != nil {
		return "", ctx.Err()
	}
	fields := strings.Fields(string(text))
	if len(fields) == 0 || !isSHA256(strings.ToLower(fields[0])) {
		return "", nil
	}
	name := path.Base(strings.TrimSuffix(w.url.Path, ".sha256"))
	if len(fields) > 2 || len(fields) == 2 && path.Base(strings.TrimPrefix(fields[1], "*")) != name {
		return "", nil // of another file, or of several
	}
	return strings.ToLower(fields[0]), nil
}
