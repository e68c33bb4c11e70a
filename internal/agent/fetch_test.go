package agent_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/modelfile"
)

// originServer is a server of one file, which does what it is told to do.
type originServer struct {
	*httptest.Server
	content []byte

	mu      sync.Mutex
	ranges  []string                                          // that were asked for, without looks at the first byte
	misdeed func(w http.ResponseWriter, r *http.Request) bool // answers itself if it returns true
}

func newOrigin(t *testing.T, size int) *originServer {
	t.Helper()
	o := &originServer{content: make([]byte, size)}
	rand.NewChaCha8([32]byte{7}).Read(o.content)
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		misdeed := o.misdeed
		if at := r.Header.Get("Range"); at != "bytes=0-0" {
			o.ranges = append(o.ranges, at)
		}
		o.mu.Unlock()
		if misdeed != nil && misdeed(w, r) {
			return
		}
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.content))
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *originServer) does(f func(w http.ResponseWriter, r *http.Request) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.misdeed, o.ranges = f, nil
}

func (o *originServer) asked() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ranges
}

func at(url, token string) *agentpb.ModelOrigin {
	return &agentpb.ModelOrigin{Where: &agentpb.ModelOrigin_Url{Url: url}, Token: token}
}

func onHost(path string) *agentpb.ModelOrigin {
	return &agentpb.ModelOrigin{Where: &agentpb.ModelOrigin_Path{Path: path}}
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// fetching is a request for a model of one file.
func fetching(path, sum string, from *agentpb.ModelOrigin) *agentpb.FetchModelRequest {
	return &agentpb.FetchModelRequest{
		Header: &agentpb.ModelHeader{
			Claim: claim("Model", path), Sha256: sum, Mode: 0o640, Owner: me(), Group: myGroup(), SessionId: "s",
			Files: []*agentpb.ModelFile{{}},
		},
		From: []*agentpb.ModelOrigin{from},
	}
}

func (c *client) fetch(req *agentpb.FetchModelRequest) (*agentpb.ModelEvent, error) {
	stream, err := c.FetchModel(c.t.Context(), req)
	if err != nil {
		return nil, err
	}
	var last *agentpb.ModelEvent
	for {
		ev, err := stream.Recv()
		if err == io.EOF {
			return last, nil
		}
		if err != nil {
			return nil, err
		}
		last = ev
	}
}

func (c *client) mustFetch(req *agentpb.FetchModelRequest) *agentpb.ModelEvent {
	c.t.Helper()
	ev, err := c.fetch(req)
	if err != nil {
		c.t.Fatal(err)
	}
	return ev
}

func TestFetchModel(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	origin := newOrigin(t, 3<<20+1)
	path := h.path("models/a.gguf")
	ev := c.mustFetch(fetching(path, digestOf(origin.content), at(origin.URL+"/a.gguf", "")))
	if !ev.GetResult().GetChanged() || ev.GetResult().GetGeneration() == 0 || ev.GetDoneBytes() != uint64(len(origin.content)) {
		t.Errorf("the last event is %v", ev)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, origin.content) {
		t.Fatalf("the model has %d bytes (%v)", len(got), err)
	}
	state, err := c.ObserveModel(t.Context(), &agentpb.ObserveModelRequest{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if state.GetMode() != 0o640 || state.GetSha256() != digestOf(origin.content) || !state.GetFromCache() || !state.GetOwned().GetComplete() {
		t.Errorf("the model is %v", state)
	}
	if removed := c.mustRemove(claim("Model", path), ev.GetResult().GetGeneration()); !removed.GetRemoved() {
		t.Errorf("removing it: %v", removed)
	}
}

func TestFetchFolder(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	origin := newOrigin(t, 100_000)
	local := h.path("elsewhere/config.json")
	if err := os.MkdirAll(filepath.Dir(local), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(local, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	path := h.path("models/folder")
	req := fetching(path, modelfile.Digest([]modelfile.Entry{
		{Name: "config.json", SHA256: digestOf([]byte("{}"))},
		{Name: "weights/w", SHA256: digestOf(origin.content)},
	}), nil)
	req.Header.Folder = true
	req.Header.Files = []*agentpb.ModelFile{{Name: "config.json"}, {Name: "weights/w", Size: uint64(len(origin.content))}}
	req.From = []*agentpb.ModelOrigin{onHost(local), at(origin.URL, "")}
	c.mustFetch(req)
	for name, want := range map[string][]byte{"config.json": []byte("{}"), "weights/w": origin.content} {
		if got, err := os.ReadFile(filepath.Join(path, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes (%v)", name, len(got), err)
		}
	}
}

// A download that has failed goes on where it stopped.
func TestFetchGoesOn(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	origin := newOrigin(t, 8<<20)
	path := h.path("a.gguf")
	req := fetching(path, digestOf(origin.content), at(origin.URL, ""))
	const before = 5 << 20
	origin.does(func(w http.ResponseWriter, r *http.Request) bool {
		switch r.Header.Get("Range") {
		case "bytes=0-0":
			return false
		case "":
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Length", "8388608")
			w.Write(origin.content[:before])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusNotFound)
		return true
	})
	_, err := c.fetch(req)
	wantReason(t, err, agentpb.Reason_FETCH_FAILED)
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("a part of it has the model's name: %v", err)
	}
	origin.does(nil)
	c.mustFetch(req)
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, origin.content) {
		t.Fatalf("the model has %d bytes (%v)", len(got), err)
	}
	if asked := origin.asked(); len(asked) != 1 || asked[0] == "" {
		t.Errorf("what was asked for when it went on: %q", asked)
	}
}

// A new version is fetched once: comparing it with the old one would read it twice.
func TestFetchReadsOnce(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	origin := newOrigin(t, 3<<20)
	path := h.path("a.gguf")
	before := c.mustFetch(fetching(path, digestOf(origin.content), at(origin.URL, "")))
	origin.content[1]++
	origin.does(nil)
	req := fetching(path, digestOf(origin.content), at(origin.URL, ""))
	req.Header.Claim.Generation = before.GetResult().GetGeneration()
	c.mustFetch(req)
	if asked := origin.asked(); len(asked) != 1 {
		t.Errorf("what was asked for: %q", asked)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, origin.content) {
		t.Errorf("the model has %d bytes (%v)", len(got), err)
	}
}

// What can't be fetched leaves no model, and the error says why without secrets.
func TestFetchFails(t *testing.T) {
	origin := newOrigin(t, 100_000)
	h := newHost(t)
	secretFile := h.path("secret")
	for name, c := range map[string]struct {
		change func(req *agentpb.FetchModelRequest)
		does   func(w http.ResponseWriter, r *http.Request) bool
		reason agentpb.Reason
		want   string
	}{
		"other bytes": {reason: agentpb.Reason_DIGEST_MISMATCH, change: func(req *agentpb.FetchModelRequest) {
			req.Header.Sha256 = digestOf([]byte("other"))
		}},
		"another size": {reason: agentpb.Reason_FETCH_FAILED, want: "has 100000 bytes now, and had 99999", change: func(req *agentpb.FetchModelRequest) {
			req.Header.Files[0].Size = 99_999
		}},
		"not there": {reason: agentpb.Reason_FETCH_FAILED, want: "404", does: func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(http.StatusNotFound)
			return true
		}},
		"another version in between": {reason: agentpb.Reason_FETCH_FAILED, want: "changed", does: func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") == "bytes=0-0" {
				return false
			}
			w.Header().Set("ETag", `"v2"`)
			w.Write(origin.content)
			return true
		}},
		"not encrypted": {reason: agentpb.Reason_FETCH_FAILED, want: "isn't encrypted", change: func(req *agentpb.FetchModelRequest) {
			req.From[0] = at("http://files.example/?key=hunter2", "hf_secret")
		}},
		"no origin": {reason: agentpb.Reason_INVALID, want: "0 origins", change: func(req *agentpb.FetchModelRequest) { req.From = nil }},
		"an origin that is nowhere": {reason: agentpb.Reason_FETCH_FAILED, want: "no host", change: func(req *agentpb.FetchModelRequest) {
			req.From[0] = &agentpb.ModelOrigin{}
		}},
		"another session":         {reason: agentpb.Reason_INVALID, want: "another session", change: func(req *agentpb.FetchModelRequest) { req.Header.SessionId = "other" }},
		"a claim of another kind": {reason: agentpb.Reason_INVALID, change: func(req *agentpb.FetchModelRequest) { req.Header.Claim.Kind = "File" }},
		"a path that isn't clean": {reason: agentpb.Reason_INVALID, change: func(req *agentpb.FetchModelRequest) {
			req.From[0] = onHost(h.path("x") + "/../secret")
		}},
		"a path that is nothing": {reason: agentpb.Reason_REASON_UNSPECIFIED, want: "no such file", change: func(req *agentpb.FetchModelRequest) {
			req.From[0] = onHost(h.path("none"))
		}},
		"a link": {reason: agentpb.Reason_WRONG_TYPE, want: "symbolic link", change: func(req *agentpb.FetchModelRequest) {
			req.From[0] = onHost(h.path("link"))
		}},
		"a name that leaves": {reason: agentpb.Reason_INVALID, change: func(req *agentpb.FetchModelRequest) {
			req.Header.Folder, req.Header.Files[0].Name = true, "../../x"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			client := h.connectToChange("s")
			defer client.ends()
			if err := os.WriteFile(secretFile, []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(secretFile, h.path("link")); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
			origin.does(c.does)
			path := h.path("m.gguf")
			req := fetching(path, digestOf(origin.content), at(origin.URL+"/?key=hunter2", "hf_secret"))
			if c.change != nil {
				c.change(req)
			}
			_, err := client.fetch(req)
			wantReason(t, err, c.reason)
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error %q doesn't say %q", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "hf_secret") {
				t.Errorf("the error holds a secret: %v", err)
			}
			if entries, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*m.gguf*")); len(entries) > 0 {
				t.Errorf("there is %q", entries)
			}
		})
	}
}

// A host that can't reach an origin isn't stuck.
func TestFetchSaysTheWayAround(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	_, err := c.fetch(fetching(h.path("a.gguf"), digestOf(nil), at("http://127.0.0.1:1/a.gguf", "")))
	if metadata := wantReason(t, err, agentpb.Reason_FETCH_FAILED); !strings.Contains(metadata["hint"], `download = "here"`) || metadata["url"] != "http://127.0.0.1:1/a.gguf" {
		t.Errorf("metadata: %q", metadata)
	}
}

// Without a claim a model is placed that no stack owns, and what a stack owns is left alone.
func TestFetchWithoutAStack(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	origin := newOrigin(t, 1000)
	owned := h.path("owned.gguf")
	c.mustFetch(fetching(owned, digestOf(origin.content), at(origin.URL, "")))

	stackless := h.connect()
	path := h.path("a.gguf")
	req := fetching(path, "", at(origin.URL, ""))
	req.Header.Claim, req.Header.Path = nil, path
	stackless.mustFetch(req)
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, origin.content) {
		t.Errorf("the model has %d bytes (%v)", len(got), err)
	}
	req.Header.Path = owned
	_, err := stackless.fetch(req)
	wantReason(t, err, agentpb.Reason_OTHER_OWNER)
}

// A token of a private origin is asked for, and then sent.
func TestFetchWithToken(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	origin := newOrigin(t, 1000)
	origin.does(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer hf_secret" {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	c.mustFetch(fetching(h.path("a.gguf"), digestOf(origin.content), at(origin.URL, "hf_secret")))
}
