package source_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/transfer"
)

const (
	contentSize = 1 << 20
	etag        = `"v1"`
	token       = "hf_secret"
)

// content are bytes of which no two parts are alike.
func content() []byte {
	out := make([]byte, contentSize)
	rand.NewChaCha8([32]byte{1}).Read(out)
	return out
}

// serve answers as a good server does, of this version of the file.
func serve(w http.ResponseWriter, r *http.Request, content []byte, etag string) {
	w.Header().Set("ETag", etag)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// limited is an answer whose connection is cut after some bytes of the body.
type limited struct {
	http.ResponseWriter
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.ResponseWriter.Write(p[:n])
	l.left -= n
	if l.left == 0 {
		l.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

// isLook reports whether a request only asks how long the file is.
func isLook(r *http.Request) bool { return r.Header.Get("Range") == "bytes=0-0" }

// offset is where a request's range begins.
func offset(r *http.Request) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"))
	return n
}

// noRanges answers with the whole file, whatever is asked.
func noRanges(w http.ResponseWriter, content []byte) {
	w.Header().Set("ETag", etag)
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.Write(content)
}

// Whatever a server does, what is read are the file's bytes, or there is an error that says what
// is wrong.
func TestMisbehavingServer(t *testing.T) {
	good := content()
	random := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex // of random
	upTo := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return 1 + random.IntN(n)
	}
	once := func(f http.HandlerFunc) http.HandlerFunc { // for the first request of the bytes; then all is well
		var done atomic.Bool
		return func(w http.ResponseWriter, r *http.Request) {
			if isLook(r) || done.Swap(true) {
				serve(w, r, good, etag)
				return
			}
			f(w, r)
		}
	}
	bytesOnly := func(f http.HandlerFunc) http.HandlerFunc { // for all requests of the bytes
		return func(w http.ResponseWriter, r *http.Request) {
			if isLook(r) {
				serve(w, r, good, etag)
				return
			}
			f(w, r)
		}
	}
	for _, c := range []struct {
		name   string
		server http.HandlerFunc
		// What the error says, wherever it comes; nil: the bytes are right.
		want []string
		is   error
		// A silent server is given up soon.
		hurry bool
	}{
		{name: "well-behaved", server: func(w http.ResponseWriter, r *http.Request) { serve(w, r, good, etag) }},
		{name: "cuts at random bytes", server: func(w http.ResponseWriter, r *http.Request) {
			serve(&limited{w, upTo(contentSize / 30)}, r, good, etag)
		}},
		{name: "cuts before each answer, twice", server: func() http.HandlerFunc {
			var n atomic.Int32
			return func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1)%3 != 0 {
					panic(http.ErrAbortHandler)
				}
				serve(w, r, good, etag)
			}
		}()},
		{name: "always cuts before the first byte", server: bytesOnly(func(w http.ResponseWriter, r *http.Request) {
			panic(http.ErrAbortHandler)
		}), want: []string{"closed the connection", "8 tries"}},
		{name: "always cuts at the same byte", server: bytesOnly(func(w http.ResponseWriter, r *http.Request) {
			if offset(r) >= 1000 {
				panic(http.ErrAbortHandler)
			}
			serve(&limited{w, 1000 - offset(r)}, r, good, etag)
		}), want: []string{"closed the connection", "8 tries"}},
		{name: "no ranges", server: func(w http.ResponseWriter, r *http.Request) { noRanges(w, good) }},
		{name: "no ranges, and cuts twice", server: func() http.HandlerFunc {
			var n atomic.Int32
			return func(w http.ResponseWriter, r *http.Request) {
				if i := int(n.Add(1)); i <= 3 {
					noRanges(&limited{w, i * contentSize / 4}, good)
				}
				noRanges(w, good)
			}
		}()},
		{name: "ranges at times", server: func(w http.ResponseWriter, r *http.Request) {
			cut := &limited{w, upTo(contentSize / 3)}
			if upTo(2) == 1 {
				noRanges(cut, good)
			}
			serve(cut, r, good, etag)
		}},
		{name: "gives less than the range", server: bytesOnly(func(w http.ResponseWriter, r *http.Request) {
			start := offset(r)
			end := min(start+50_000, contentSize)
			w.Header().Set("ETag", etag)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, contentSize))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(good[start:end])
		})},
		{name: "gives another range", server: bytesOnly(func(w http.ResponseWriter, r *http.Request) {
			if offset(r) == 0 {
				serve(&limited{w, 5000}, r, good, etag)
			}
			r.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset(r)-1))
			serve(w, r, good, etag)
		}), want: []string{"answers the range bytes=5000-", "bytes 4999-"}},
		{name: "gives a range of nonsense", server: bytesOnly(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", etag)
			w.Header().Set("Content-Range", "bytes 18446744073709551615-1/x")
			w.WriteHeader(http.StatusPartialContent)
			w.Write(good)
		}), want: []string{"answers the range"}},
		{name: "gives a range that ends after the file", server: bytesOnly(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", etag)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", contentSize, contentSize))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(append(good[:contentSize:contentSize], 'x'))
		}), want: []string{"answers the range"}},
		{name: "a size of nonsense", server: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-0/-5")
			w.WriteHeader(http.StatusPartialContent)
			w.Write(good[:1])
		}, want: []string{"doesn't say how long"}},
		{name: "no size", server: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", etag)
			w.(http.Flusher).Flush()
			w.Write(good)
		}, want: []string{"doesn't say how long"}},
		{name: "fewer bytes than promised", server: bytesOnly(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", etag)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset(r), contentSize-1, contentSize))
			w.WriteHeader(http.StatusPartialContent)
			w.(http.Flusher).Flush() // in chunks, whose end looks like the file's
			w.Write(good[offset(r):max(offset(r), contentSize-100)])
		}), want: []string{"after 1048476 of 1048576 bytes"}},
		{name: "more bytes than promised", server: bytesOnly(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", etag)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset(r), contentSize-1, contentSize))
			w.WriteHeader(http.StatusPartialContent)
			w.(http.Flusher).Flush()
			w.Write(good[offset(r):])
			w.Write([]byte("and what isn't of the file"))
		})},
		{name: "another length than when it was looked at", server: bytesOnly(func(w http.ResponseWriter, r *http.Request) {
			serve(w, r, good[:contentSize-1], etag)
		}), want: []string{"has 1048575 bytes now"}, is: transfer.ErrChanged},
		{name: "another version after a cut", server: func() http.HandlerFunc {
			var cut atomic.Bool
			return bytesOnly(func(w http.ResponseWriter, r *http.Request) {
				if cut.Swap(true) {
					serve(w, r, bytes.Repeat([]byte("x"), contentSize), `"v2"`)
					return
				}
				serve(&limited{w, 5000}, r, good, etag)
			})
		}(), want: []string{"another version"}, is: transfer.ErrChanged},
		{name: "shorter after a cut", server: func() http.HandlerFunc {
			var cut atomic.Bool
			return bytesOnly(func(w http.ResponseWriter, r *http.Request) {
				if cut.Swap(true) {
					serve(w, r, good[:100], etag)
					return
				}
				serve(&limited{w, 5000}, r, good, etag)
			})
		}(), want: []string{"no byte 5000 any more"}, is: transfer.ErrChanged},
		{name: "fails at first", server: once(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		})},
		{name: "fails always", server: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
		}, want: []string{"502", "3 tries"}},
		{name: "drips", hurry: true, server: once(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", etag)
			w.Header().Set("Content-Length", strconv.Itoa(contentSize))
			const drops = 20
			for i := range drops {
				w.Write(good[i*contentSize/drops : (i+1)*contentSize/drops])
				w.(http.Flusher).Flush()
				time.Sleep(impatience / 8)
			}
		})},
		{name: "falls silent once", hurry: true, server: once(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", etag)
			w.Header().Set("Content-Length", strconv.Itoa(contentSize))
			w.Write(good[:4000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})},
		{name: "falls silent at once", hurry: true, server: func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}, want: []string{"didn't answer within", "3 tries"}},
		{name: "sends it compressed", server: bytesOnly(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", etag)
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			z.Write(good)
			z.Close()
		}), want: []string{"encoded (gzip)"}},
		{name: "a login page", server: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, "<html>Please log in")
		}, want: []string{"web page", "If it is private"}},
		{name: "nothing there", server: http.NotFound, want: []string{"isn't there (404 Not Found)", "address right"}},
		{name: "not allowed", server: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
		}, want: []string{"refused (403 Forbidden)", "llmhost:modelToken"}},
		{name: "redirects in a circle", server: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}, want: []string{"more than 10 times"}},
		{name: "redirects to no address", server: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://[")
			w.WriteHeader(http.StatusFound)
		}, want: []string{"isn't an address"}},
		{name: "redirects to a file of this machine", server: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, want: []string{"isn't an address"}},
		{name: "redirects to another machine without encryption", server: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://files.example/m.gguf", http.StatusFound)
		}, want: []string{"files.example without encryption"}},
		{name: "redirects", server: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/there" {
				http.Redirect(w, r, "/there", http.StatusTemporaryRedirect)
				return
			}
			serve(&limited{w, upTo(contentSize / 3)}, r, good, etag)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(c.server)
			defer server.Close()
			patience := time.Minute
			if c.hurry {
				patience = impatience
			}
			for _, start := range []uint64{0, contentSize / 3} {
				got, err := fetch(t, server.URL+"/m.gguf?key=querysecret", start, patience)
				switch {
				case c.want != nil && err == nil:
					t.Fatalf("from %d: no error, and one with %q was due", start, c.want)
				case c.want == nil && err != nil:
					t.Fatalf("from %d: %v", start, err)
				case c.want == nil && !bytes.Equal(got, good[start:]):
					t.Fatalf("from %d: %d bytes, which aren't the file's", start, len(got))
				}
				if !bytes.Equal(got, good[start:][:min(len(got), len(good[start:]))]) {
					t.Errorf("from %d: bytes before the error aren't the file's", start)
				}
				if c.want == nil {
					continue
				}
				if start == 0 {
					wantError(t, err, c.want...)
				}
				if strings.Contains(err.Error(), "querysecret") {
					t.Errorf("the error holds the query: %v", err)
				}
				if c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("%v isn't %v", err, c.is)
				}
			}
		})
	}
}

// impatience is how long a silent server is waited for in a hurry.
const impatience = 200 * time.Millisecond

func fetch(t *testing.T, address string, start uint64, patience time.Duration) ([]byte, error) {
	t.Helper()
	src, err := source.Impatient(t.Context(), []source.Address{{URL: address}}, nil, patience, time.Millisecond)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	r, err := src.Open(t.Context(), 0, start)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// A server that is restarted in the middle of a download is waited for.
func TestServerIsRestarted(t *testing.T) {
	good := content()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	var first http.Server
	gone := make(chan struct{})
	first.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isLook(r) {
			serve(w, r, good, etag)
			return
		}
		w.Header().Set("ETag", etag)
		w.Header().Set("Content-Length", strconv.Itoa(contentSize))
		w.Write(good[:5000])
		w.(http.Flusher).Flush()
		first.Close()
		close(gone)
	})
	go first.Serve(listener)
	var second http.Server
	defer second.Close()
	second.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, good, etag) })
	go func() {
		<-gone
		time.Sleep(20 * time.Millisecond) // connections are refused meanwhile
		if listener, err := net.Listen("tcp", address); err == nil {
			second.Serve(listener)
		}
	}()
	src, err := source.Impatient(t.Context(), []source.Address{{URL: "http://" + address}}, nil, time.Minute, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if got := read(t, src, 0, 0); got != string(good) {
		t.Errorf("%d bytes, which aren't the file's", len(got))
	}
}

// A token goes to the host that it is for, once that host has asked for it, and nowhere else.
func TestTokenGoesToItsHostOnly(t *testing.T) {
	good := content()
	var mu sync.Mutex
	got := map[string]int{} // how often by server
	watch := func(name string, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		for header, values := range r.Header {
			for _, value := range values {
				if strings.Contains(value, token) || strings.Contains(value, "querysecret") {
					got[name+" "+header]++
				}
			}
		}
		return r.Header.Get("Authorization") == "Bearer "+token
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watch("elsewhere", r)
		serve(w, r, good, etag)
	}))
	defer elsewhere.Close()
	// The same host by another name is another host.
	elsewhereURL := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		known := watch("own", r)
		switch {
		case r.URL.Path == "/public":
			serve(w, r, good, etag)
		case !known:
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/away":
			http.Redirect(w, r, elsewhereURL+"/x", http.StatusFound)
		default:
			serve(w, r, good, etag)
		}
	}))
	defer own.Close()
	for _, c := range []struct {
		path string
		want map[string]int
	}{
		{"/public", map[string]int{}},
		{"/private", map[string]int{"own Authorization": 2}},
		{"/away", map[string]int{"own Authorization": 2}},
	} {
		t.Run(c.path, func(t *testing.T) {
			mu.Lock()
			clear(got)
			mu.Unlock()
			src, err := source.Addresses(t.Context(), []source.Address{{URL: own.URL + c.path + "?key=querysecret", Token: token}})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			if read(t, src, 0, 0) != string(good) {
				t.Error("the bytes aren't the file's")
			}
			if strings.Contains(src.ID(), token) || strings.Contains(src.ID(), "querysecret") {
				t.Errorf("the ID holds a secret: %s", src.ID())
			}
			mu.Lock()
			defer mu.Unlock()
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("secrets were seen as %v, not %v", got, c.want)
			}
		})
	}
	t.Run("a hub's, for another host", func(t *testing.T) {
		_, err := source.Open(t.Context(), parse(t, own.URL+"/private.gguf"), source.Options{Token: token})
		wantError(t, err, "access is refused", "for huggingface.co alone")
		mu.Lock()
		defer mu.Unlock()
		if got["own Authorization"] != 2 { // of before
			t.Errorf("secrets were seen: %v", got)
		}
	})
	t.Run("a wrong one", func(t *testing.T) {
		_, err := source.Addresses(t.Context(), []source.Address{{URL: own.URL + "/private", Token: "hf_wrong"}})
		wantError(t, err, "access is refused", "does the token")
		if strings.Contains(err.Error(), "hf_wrong") {
			t.Errorf("the error holds the token: %v", err)
		}
	})
	t.Run("one with a line break in it", func(t *testing.T) {
		_, err := source.Addresses(t.Context(), []source.Address{{URL: own.URL + "/private", Token: "hf_a\r\nX: y"}})
		wantError(t, err, "the token has characters")
		if strings.Contains(err.Error(), "hf_a") {
			t.Errorf("the error holds the token: %v", err)
		}
	})
}

func TestTLS(t *testing.T) {
	good := content()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, good, etag) }))
	defer plain.Close()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/plain" {
			http.Redirect(w, r, plain.URL, http.StatusFound)
			return
		}
		serve(w, r, good, etag)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // a client that doesn't trust it is an error there
	server.StartTLS()
	defer server.Close()
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs

	src, err := source.Impatient(t.Context(), []source.Address{{URL: server.URL}}, roots, time.Minute, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if read(t, src, 0, 5) != string(good[5:]) {
		t.Error("the bytes aren't the file's")
	}
	_, err = source.Addresses(t.Context(), []source.Address{{URL: server.URL}})
	wantError(t, err, "certificate of 127.0.0.1 isn't valid")
	_, err = source.Impatient(t.Context(), []source.Address{{URL: server.URL + "/plain"}}, roots, time.Minute, time.Millisecond)
	wantError(t, err, "without encryption")
}

func TestAddressesThatAreNone(t *testing.T) {
	for address, want := range map[string]string{
		"http://files.example/m.gguf":           "isn't encrypted",
		"ftp://files.example/m.gguf":            "neither https nor http",
		"https:///m.gguf":                       "no host",
		"https://me:hunter2@files.example/m":    "user name",
		"https://files.example/%zzm?k=hunter2":  "isn't valid",
		"http://127.0.0.1:1/m.gguf?key=hunter2": "connection refused",
		"https://127.0.0.1.nip.invalid/m.gguf":  "no host 127.0.0.1.nip.invalid",
	} {
		_, err := source.Addresses(t.Context(), []source.Address{{URL: address}})
		wantError(t, err, want)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error holds the secret: %v", err)
		}
	}
}

// What a server says of a file's digest spares reading it.
func TestServerSaysTheDigest(t *testing.T) {
	good := content()
	sum := sha256.Sum256(good)
	for name, set := range map[string]func(http.Header){
		"X-Linked-Etag": func(h http.Header) { h.Set("X-Linked-Etag", `"`+hex.EncodeToString(sum[:])+`"`) },
		"Repr-Digest": func(h http.Header) {
			h.Set("Repr-Digest", "md5=:xx:, sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
		},
		"Digest": func(h http.Header) { h.Set("Digest", "SHA-256="+base64.StdEncoding.EncodeToString(sum[:])) },
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			set(w.Header())
			serve(w, r, good, etag)
		}))
		defer server.Close()
		src, err := source.Addresses(t.Context(), []source.Address{{URL: server.URL}})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		if got := src.Files()[0].SHA256; got != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestShardsAtAnAddress(t *testing.T) {
	files := map[string]string{"/a b/m-00001-of-00002.gguf": "one", "/a b/m-00002-of-00002.gguf": "two"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := files[r.URL.Path]
		if !ok || r.URL.RawQuery != "k=1" {
			http.NotFound(w, r)
			return
		}
		serve(w, r, []byte(content), etag)
	}))
	defer server.Close()
	src := open(t, server.URL+"/a%20b/m-00002-of-00002.gguf?k=1", source.Options{})
	if got := names(src); len(got) != 2 || got[1] != "m-00002-of-00002.gguf" || read(t, src, 0, 0) != "one" || read(t, src, 1, 1) != "wo" {
		t.Errorf("files: %q", got)
	}
	delete(files, "/a b/m-00001-of-00002.gguf")
	u, _ := url.Parse(server.URL)
	_, err := source.Open(t.Context(), parse(t, u.JoinPath("a b", "m-00001-of-00002.gguf").String()+"?k=1"), source.Options{})
	wantError(t, err, "m-00001-of-00002.gguf", "404")
}

func TestEmptyFileAtAnAddress(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, nil, etag) }))
	defer server.Close()
	src := open(t, server.URL+"/m.gguf", source.Options{})
	if got := src.Files()[0].Size; got != 0 || read(t, src, 0, 0) != "" {
		t.Errorf("%d bytes", got)
	}
}

// A version is told from another by its ID; an address that is signed anew has the same.
func TestIDOfAnAddress(t *testing.T) {
	var version atomic.Value
	version.Store(etag)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve(w, r, []byte("x"), version.Load().(string))
	}))
	defer server.Close()
	id := func(query string) string { return open(t, server.URL+"/m.gguf?"+query, source.Options{}).ID() }
	before := id("signature=1")
	if id("signature=2") != before {
		t.Error("another query gives another ID")
	}
	version.Store(`"v2"`)
	if id("signature=1") == before {
		t.Error("another version has the same ID")
	}
}

func TestCancelledDownloadEndsAtOnce(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isLook(r) {
			serve(w, r, content(), etag)
			return
		}
		<-r.Context().Done()
	}))
	defer server.Close()
	src := open(t, server.URL+"/m.gguf", source.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := src.Open(ctx, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
}
