package source_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/source"
)

// A digest beside a file is taken if it is one, and is of that file.
func TestPublished(t *testing.T) {
	digest := strings.Repeat("0a", 32)
	for text, want := range map[string]string{
		digest:                         digest,
		digest + "\n":                  digest,
		digest + "  x.gguf\n":          digest,
		digest + " *out/x.gguf\n":      digest,
		strings.ToUpper(digest):        digest,
		digest + "  y.gguf\n":          "",
		digest + "  x.gguf\n" + "ab c": "",
		digest[1:]:                     "",
		"<html>":                       "",
		"":                             "",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/a/x.gguf.sha256" || r.URL.RawQuery != "d=1" {
				http.NotFound(w, r)
				return
			}
			_, _ = w.Write([]byte(text)) // a client that is gone has failed already
		}))
		for path, want := range map[string]string{"/a/x.gguf?d=1": want, "/b/x.gguf": ""} {
			s, err := modelfile.ParseSource(server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := source.Published(context.Background(), s, source.Options{}); got != want || err != nil {
				t.Errorf("%q at %s: %q, %v; want %q", text, path, got, err, want)
			}
		}
		server.Close()
	}
}
