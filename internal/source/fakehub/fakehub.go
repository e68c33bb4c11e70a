// Package fakehub is a model hub for tests, on this machine.
//
// It exists since no test may ask a real hub. It answers what the API of huggingface.co is
// documented to answer: the list of a repository's files, page by page; what a revision means; the
// files, of which those in LFS are at another host that is redirected to.
package fakehub

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Repository is what a hub has under one name.
type Repository struct {
	Files map[string][]byte // by path
	LFS   []string          // the paths that are kept in LFS
	Token string            // without which it is "not found"; empty: public
}

// Hub is a hub. Its fields are set before the first request.
type Hub struct {
	URL      string
	PageSize int // files in one answer

	mu           sync.Mutex
	repositories map[string]Repository // by ORG/NAME
	requests     []string
	files        *httptest.Server // where LFS files are
	tokens       []string         // that arrived at files, where none belongs
}

// Start starts a hub that ends with the test.
func Start(t testing.TB, repositories map[string]Repository) *Hub {
	t.Helper()
	h := &Hub{PageSize: 1000, repositories: repositories}
	api := http.NewServeMux()
	api.HandleFunc("GET /api/models/{org}/{name}/revision/{revision}", h.revision)
	api.HandleFunc("GET /api/models/{org}/{name}/tree/{revision}/{path...}", h.tree)
	api.HandleFunc("GET /api/models/{org}/{name}/tree/{revision}", h.tree)
	files := http.NewServeMux()
	files.HandleFunc("GET /{org}/{name}/resolve/{revision}/{path...}", h.resolve)
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.requests = append(h.requests, r.URL.RequestURI())
		h.mu.Unlock()
		if strings.HasPrefix(r.URL.Path, "/api/") {
			api.ServeHTTP(w, r)
		} else {
			files.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(hub.Close)
	h.files = httptest.NewServer(http.HandlerFunc(h.lfs))
	t.Cleanup(h.files.Close)
	h.URL = hub.URL
	return h
}

// Commit is the commit that every branch of a repository means now. It is another when a file is.
func (h *Hub) Commit(repository string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return commit(h.repositories[repository])
}

func commit(r Repository) string {
	sum := sha1.New()
	for _, path := range paths(r) {
		fmt.Fprintf(sum, "%s %x\n", path, sha256.Sum256(r.Files[path]))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func paths(r Repository) []string {
	var out []string
	for path := range r.Files {
		out = append(out, path)
	}
	slices.Sort(out)
	return out
}

// Put changes a file of a repository, as a commit to its branches would.
func (h *Hub) Put(repository, path string, content []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	files := map[string][]byte{}
	for path, content := range h.repositories[repository].Files {
		files[path] = content
	}
	files[path] = content
	r := h.repositories[repository]
	r.Files = files
	h.repositories[repository] = r
}

// Requests are the paths and queries that the hub was asked for.
func (h *Hub) Requests() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

// StrayTokens are tokens that were sent to the host of LFS files, where none belongs.
func (h *Hub) StrayTokens() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.tokens)
}

// find returns the repository that a request asks for, or answers that there is none.
func (h *Hub) find(w http.ResponseWriter, r *http.Request) (Repository, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	repo, ok := h.repositories[r.PathValue("org")+"/"+r.PathValue("name")]
	if !ok || repo.Token != "" && r.Header.Get("Authorization") != "Bearer "+repo.Token {
		refuse(w, http.StatusUnauthorized, "RepoNotFound", "Invalid username or password.") // whether it is private or isn't there
		return Repository{}, false
	}
	if revision := r.PathValue("revision"); revision != "main" && revision != commit(repo) {
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
		return Repository{}, false
	}
	return repo, true
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Error-Code", code)
	w.Header().Set("X-Error-Message", message)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message})
}

func (h *Hub) revision(w http.ResponseWriter, r *http.Request) {
	if repo, ok := h.find(w, r); ok {
		_ = json.NewEncoder(w).Encode(map[string]any{"id": r.PathValue("org") + "/" + r.PathValue("name"), "sha": commit(repo)})
	}
}

type entry struct {
	Type string `json:"type"`
	OID  string `json:"oid"`
	Size int    `json:"size"`
	Path string `json:"path"`
	LFS  *lfs   `json:"lfs,omitempty"`
}

type lfs struct {
	OID         string `json:"oid"`
	Size        int    `json:"size"`
	PointerSize int    `json:"pointerSize"`
}

func (h *Hub) tree(w http.ResponseWriter, r *http.Request) {
	repo, ok := h.find(w, r)
	if !ok {
		return
	}
	recursive := r.URL.Query().Get("recursive") == "true"
	prefix := r.PathValue("path")
	if prefix != "" {
		prefix += "/"
	}
	all := []entry{}
	seen := map[string]bool{}
	for _, path := range paths(repo) {
		inside, ok := strings.CutPrefix(path, prefix)
		if !ok {
			continue
		}
		parts := strings.Split(inside, "/")
		for i := range parts[1:] {
			folder := prefix + strings.Join(parts[:i+1], "/")
			if !seen[folder] && (recursive || i == 0) {
				seen[folder] = true
				all = append(all, entry{Type: "directory", OID: strings.Repeat("0", 40), Path: folder})
			}
		}
		if len(parts) == 1 || recursive {
			all = append(all, file(repo, path))
		}
	}
	if len(all) == 0 && prefix != "" {
		refuse(w, http.StatusNotFound, "EntryNotFound", prefix+" does not exist")
		return
	}
	start, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	end := min(start+h.PageSize, len(all))
	if end < len(all) {
		query := url.Values{"cursor": {strconv.Itoa(end)}}
		if recursive {
			query.Set("recursive", "true")
		}
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?%s>; rel="next"`, h.URL, r.URL.EscapedPath(), query.Encode()))
	}
	_ = json.NewEncoder(w).Encode(all[start:end])
}

func file(repo Repository, path string) entry {
	content := repo.Files[path]
	if !slices.Contains(repo.LFS, path) {
		return entry{Type: "file", OID: blob(content), Size: len(content), Path: path}
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(content))
	pointer := fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", sum, len(content))
	return entry{Type: "file", OID: blob([]byte(pointer)), Size: len(content), Path: path,
		LFS: &lfs{OID: sum, Size: len(content), PointerSize: len(pointer)}}
}

// blob is git's hash of a file.
func blob(content []byte) string {
	return fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content)))
}

func (h *Hub) resolve(w http.ResponseWriter, r *http.Request) {
	repo, ok := h.find(w, r)
	if !ok {
		return
	}
	path := r.PathValue("path")
	content, ok := repo.Files[path]
	if !ok {
		refuse(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	w.Header().Set("X-Repo-Commit", commit(repo))
	e := file(repo, path)
	if e.LFS == nil {
		w.Header().Set("ETag", `"`+e.OID+`"`)
		http.ServeContent(w, r, path, time.Time{}, strings.NewReader(string(content)))
		return
	}
	w.Header().Set("X-Linked-Etag", `"`+e.LFS.OID+`"`)
	w.Header().Set("X-Linked-Size", strconv.Itoa(e.LFS.Size))
	http.Redirect(w, r, h.files.URL+"/"+e.LFS.OID+"?signature=secret", http.StatusFound)
}

func (h *Hub) lfs(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if token := r.Header.Get("Authorization"); token != "" {
		h.tokens = append(h.tokens, token)
	}
	for _, repo := range h.repositories {
		for _, path := range repo.LFS {
			content := repo.Files[path]
			if fmt.Sprintf("/%x", sha256.Sum256(content)) == r.URL.Path && r.URL.Query().Get("signature") == "secret" {
				w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha1.Sum(content)))
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(content)))
				return
			}
		}
	}
	w.WriteHeader(http.StatusForbidden)
}
