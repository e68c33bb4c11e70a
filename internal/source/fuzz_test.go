package source_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/llmhost/llmhost/internal/source"
)

// script answers each request with the next of some texts, as they would come over a connection.
// Behind the last one is an end.
type script struct {
	mu      sync.Mutex
	answers []string
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.answers) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	next := s.answers[0]
	s.answers = s.answers[1:]
	return http.ReadResponse(bufio.NewReader(strings.NewReader(next)), r)
}

// Whatever a server says, a file has the length that was listed, or reading it is an error, which
// holds no secret.
func FuzzServer(f *testing.F) {
	const look = "HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\nContent-Range: bytes 0-0/10\r\nContent-Length: 1\r\n\r\n0"
	const end = "\x00"
	for _, seed := range []string{
		look + end + "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 10\r\n\r\n0123456789",
		look + end + "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 10\r\n\r\n01234" + end +
			"HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\nContent-Range: bytes 5-9/10\r\n\r\n56789",
		look + end + "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 10\r\n\r\n01234" + end +
			"HTTP/1.1 200 OK\r\nETag: \"a\"\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
		look + end + "HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\n\r\n",
		"HTTP/1.1 416 No\r\nContent-Range: bytes */0\r\n\r\n",
		"HTTP/1.1 401 No\r\n\r\n" + end + look,
		"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/9223372036854775807\r\nRepr-Digest: sha-256=:AA==:\r\n\r\n0",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/html\r\nX-Linked-Etag: \"x\"\r\n\r\nabc",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		server := &script{answers: strings.Split(text, end)}
		fails := func(err error) {
			if strings.Contains(err.Error(), token) {
				t.Fatalf("the error holds the token: %v", err)
			}
		}
		src, err := source.Scripted(t.Context(), source.Address{URL: "https://files.example/m.gguf", Token: token}, server)
		if err != nil {
			fails(err)
			return
		}
		defer src.Close()
		size := src.Files()[0].Size
		start := size / 3
		r, err := src.Open(t.Context(), 0, start)
		if err != nil {
			t.Fatal(err) // nothing was asked for so far
		}
		defer r.Close()
		n, err := io.Copy(io.Discard, r)
		switch {
		case uint64(n) > size-start:
			t.Fatalf("%d bytes of the %d from %d", n, size, start)
		case err == nil && uint64(n) != size-start:
			t.Fatalf("an end after %d bytes of the %d from %d", n, size, start)
		case errors.Is(err, io.EOF):
			t.Fatalf("an end that is an error: %v", err)
		case err != nil:
			fails(err)
		}
	})
}
