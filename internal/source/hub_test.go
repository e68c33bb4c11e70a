package source_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/source/fakehub"
	"github.com/llmhost/llmhost/internal/transfer"
)

func parse(t *testing.T, text string) modelfile.Source {
	t.Helper()
	s, err := modelfile.ParseSource(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t *testing.T, text string, o source.Options) transfer.Source {
	t.Helper()
	src, err := source.Open(t.Context(), parse(t, text), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

// shelf is a repository with files of every kind.
func shelf() fakehub.Repository {
	return fakehub.Repository{
		Files: map[string][]byte{
			".gitattributes":                []byte("*.gguf filter=lfs"),
			"README.md":                     []byte("# A model"),
			"empty.txt":                     nil,
			"model-Q4_K_M.gguf":             bytes.Repeat([]byte("weights "), 100_000),
			"text encoder/config #1.json":   []byte("{}"),
			"text encoder/weights%20.bin":   []byte("more"),
			"big-00001-of-00002.gguf":       []byte("the first half"),
			"big-00002-of-00002.gguf":       []byte("the second half"),
			"lone/lone-00001-of-00002.gguf": []byte("half"),
		},
		LFS: []string{"model-Q4_K_M.gguf", "big-00001-of-00002.gguf", "big-00002-of-00002.gguf", "text encoder/weights%20.bin"},
	}
}

func TestHub(t *testing.T) {
	repo := shelf()
	hub := fakehub.Start(t, map[string]fakehub.Repository{"org/name": repo})
	hub.PageSize = 3
	at := "hf://org/name@" + hub.Commit("org/name")
	for _, c := range []struct {
		text  string
		files map[string]string // in the model: in the repository
	}{
		{at, map[string]string{
			"README.md": "README.md", "empty.txt": "empty.txt", "model-Q4_K_M.gguf": "model-Q4_K_M.gguf",
			"text encoder/config #1.json": "text encoder/config #1.json", "text encoder/weights%20.bin": "text encoder/weights%20.bin",
			"big-00001-of-00002.gguf": "big-00001-of-00002.gguf", "big-00002-of-00002.gguf": "big-00002-of-00002.gguf",
			"lone/lone-00001-of-00002.gguf": "lone/lone-00001-of-00002.gguf",
		}},
		{at + "/model-Q4_K_M.gguf", map[string]string{"": "model-Q4_K_M.gguf"}},
		{"hf://org/name@main/model-Q4_K_M.gguf", map[string]string{"": "model-Q4_K_M.gguf"}},
		{at + "/text encoder", map[string]string{
			"config #1.json": "text encoder/config #1.json", "weights%20.bin": "text encoder/weights%20.bin"}},
		{at + "/big-00002-of-00002.gguf", map[string]string{
			"big-00001-of-00002.gguf": "big-00001-of-00002.gguf", "big-00002-of-00002.gguf": "big-00002-of-00002.gguf"}},
	} {
		t.Run(c.text, func(t *testing.T) {
			src := open(t, c.text, source.Options{Hub: hub.URL})
			if got := names(src); len(got) != len(c.files) || !slices.IsSorted(got) {
				t.Errorf("files: %q", got)
			}
			for i, f := range src.Files() {
				path, ok := c.files[f.Name]
				if !ok {
					t.Errorf("it has the file %q", f.Name)
					continue
				}
				want := repo.Files[path]
				sum := sha256.Sum256(want)
				if inLFS := slices.Contains(repo.LFS, path); f.Size != uint64(len(want)) || inLFS != (f.SHA256 == hex.EncodeToString(sum[:])) {
					t.Errorf("%s: %+v", f.Name, f)
				}
				if got := read(t, src, i, 0); got != string(want) {
					t.Errorf("%s has %d bytes, not the %d", f.Name, len(got), len(want))
				}
				if got := read(t, src, i, uint64(len(want)/2)); got != string(want[len(want)/2:]) {
					t.Errorf("%s from its middle: %d bytes", f.Name, len(got))
				}
			}
		})
	}
}

// The digest of a repository of any size costs the list and its small files.
func TestHubDigestReadsOnlySmallFiles(t *testing.T) {
	hub := fakehub.Start(t, map[string]fakehub.Repository{"org/name": shelf()})
	src := open(t, "hf://org/name@main", source.Options{Hub: hub.URL})
	var hashed uint64
	sum, files, err := source.Digest(t.Context(), src, func(p transfer.Progress) { hashed = p.Done - p.Found })
	if err != nil {
		t.Fatal(err)
	}
	if hashed > 100 {
		t.Errorf("%d bytes were read", hashed)
	}
	var entries []modelfile.Entry
	for _, f := range files {
		whole := sha256.Sum256(shelf().Files[f.Name])
		entries = append(entries, modelfile.Entry{Name: f.Name, SHA256: hex.EncodeToString(whole[:])})
	}
	if want := modelfile.Digest(entries); sum != want {
		t.Errorf("digest %s, not %s", sum, want)
	}
}

func TestAtCommit(t *testing.T) {
	hub := fakehub.Start(t, map[string]fakehub.Repository{"org/name": shelf()})
	o := source.Options{Hub: hub.URL}
	branch := parse(t, "hf://org/name@main/model-Q4_K_M.gguf")
	before, err := source.AtCommit(t.Context(), branch, o)
	if err != nil {
		t.Fatal(err)
	}
	if want := "hf://org/name@" + hub.Commit("org/name") + "/model-Q4_K_M.gguf"; before.Text != want || !before.Immutable() {
		t.Errorf("it is %s and not %s", before.Text, want)
	}
	hub.Put("org/name", "model-Q4_K_M.gguf", []byte("another"))
	after, err := source.AtCommit(t.Context(), branch, o)
	if err != nil {
		t.Fatal(err)
	}
	if after.Revision == before.Revision {
		t.Error("the branch means the same commit after a change")
	}
	asked := len(hub.Requests())
	if same, err := source.AtCommit(t.Context(), after, o); err != nil || same != after || len(hub.Requests()) != asked {
		t.Errorf("a commit became %+v (%v)", same, err)
	}
}

func TestPrivateRepository(t *testing.T) {
	repo := shelf()
	repo.Token = "hf_private"
	hub := fakehub.Start(t, map[string]fakehub.Repository{"org/name": repo})
	const text = "hf://org/name@main/model-Q4_K_M.gguf"
	src := open(t, text, source.Options{Hub: hub.URL, Token: "hf_private\n"})
	if got := read(t, src, 0, 0); got != string(repo.Files["model-Q4_K_M.gguf"]) {
		t.Errorf("%d bytes", len(got))
	}
	if stray := hub.StrayTokens(); len(stray) > 0 {
		t.Errorf("the host of the files got %q", stray)
	}
	_, err := source.Open(t.Context(), parse(t, text), source.Options{Hub: hub.URL})
	wantError(t, err, "access is refused", "401", "llmhost:modelToken", "HF_TOKEN")
	_, err = source.Open(t.Context(), parse(t, text), source.Options{Hub: hub.URL, Token: "hf_other"})
	wantError(t, err, "access is refused", "does the token")
	if strings.Contains(err.Error(), "hf_other") {
		t.Errorf("the error holds the token: %v", err)
	}
}

func TestHubFaults(t *testing.T) {
	hub := fakehub.Start(t, map[string]fakehub.Repository{"org/name": shelf(), "org/hidden": {Files: map[string][]byte{".x": nil}}})
	for text, want := range map[string][]string{
		"hf://org/none@main":                               {"401", "modelToken"},
		"hf://org/name@v9":                                 {"404", "Invalid rev id: v9"},
		"hf://org/name@main/none.gguf":                     {"no none.gguf", "/org/name/tree/"},
		"hf://org/name@main/none":                          {"404", "does not exist"},
		"hf://org/name@main/lone/lone-00001-of-00002.gguf": {"no lone-00002-of-00002.gguf"},
		"hf://org/hidden@main":                             {"no files"},
		"hf://org/name@main/none/none-00001-of-00002.gguf": {"404"},
	} {
		_, err := source.Open(t.Context(), parse(t, text), source.Options{Hub: hub.URL})
		wantError(t, err, want...)
	}
	_, err := source.Open(t.Context(), parse(t, "hf://org/name@main"), source.Options{Hub: "http://hub.example"})
	wantError(t, err, "isn't encrypted")
}

// What a hub lists is never taken for a path outside of the model, and never followed for ever.
func TestHostileHub(t *testing.T) {
	const commit = "0123456789012345678901234567890123456789"
	const sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for name, c := range map[string]struct {
		list string
		link string
		want string
	}{
		"a path that leaves":    {list: `[{"type":"file","path":"../../etc/passwd","size":1,"oid":"` + commit + `"}]`, want: "no path"},
		"an absolute path":      {list: `[{"type":"file","path":"/etc/passwd","size":1,"oid":"` + commit + `"}]`, want: "no path"},
		"a line break":          {list: `[{"type":"file","path":"a\nb","size":1,"oid":"` + commit + `"}]`, want: "rename"},
		"a negative size":       {list: `[{"type":"file","path":"a","size":-1,"oid":"` + commit + `"}]`, want: "-1 bytes"},
		"a digest that isn't":   {list: `[{"type":"file","path":"a","size":1,"oid":"` + commit + `","lfs":{"oid":"x","size":1}}]`, want: "SHA-256"},
		"a git hash that isn't": {list: `[{"type":"file","path":"a","size":1,"oid":"x"}]`, want: "git hash"},
		"no JSON":               {list: `<html>`, want: "isn't the JSON"},
		"an endless list":       {list: `[` + strings.Repeat(`{"type":"file","path":"a","size":1,"oid":"`+commit+`"},`, 999) + `{"type":"directory","path":"b"}]`, link: `</api/models/o/n/tree/x>; rel="next"`, want: "doesn't end"},
		"an empty endless one":  {list: `[]`, link: `</api/models/o/n/tree/x>; rel="next"`, want: "doesn't end"},
		"a page elsewhere":      {list: `[]`, link: `<https://elsewhere.example/>; rel="next"`, want: "next page"},
		"a huge answer":         {list: `["` + strings.Repeat("x", 17<<20) + `"]`, want: "more than"},
		"an encoded LFS digest": {list: `[{"type":"file","path":"a","size":1,"oid":"` + commit + `","lfs":{"oid":"` + strings.ToUpper(sum) + `","size":1}}]`, want: "SHA-256"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.link != "" {
					w.Header().Set("Link", c.link)
				}
				io.WriteString(w, c.list)
			}))
			defer server.Close()
			_, err := source.Open(t.Context(), parse(t, "hf://o/n@"+commit), source.Options{Hub: server.URL, Token: "secret"})
			wantError(t, err, c.want)
		})
	}
}

// A small file, of which the list has no SHA-256, is checked by git's hash.
func TestHubFileIsNotTheCommits(t *testing.T) {
	const commit = "0123456789012345678901234567890123456789"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			fmt.Fprintf(w, `[{"type":"file","path":"config.json","size":2,"oid":%q}]`, "9e26dfeeb6e641a33dae4961196235bdb965b21b") // of {}
			return
		}
		io.WriteString(w, "[]")
	}))
	defer server.Close()
	src := open(t, "hf://o/n@"+commit, source.Options{Hub: server.URL})
	_, _, err := source.Digest(t.Context(), src, nil)
	wantError(t, err, "aren't those of the commit", "config.json")
}
