package local

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// server serves HTTP on a socket below a folder for sockets.
func server(t *testing.T, handler http.HandlerFunc) (d Dialer, address string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "llm") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "a", "llm.sock")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(handler)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return Dialer{SocketDir: dir}, "unix:" + path
}

func TestOnlyServersOfThisHostCanBeReached(t *testing.T) {
	d, address := server(t, func(http.ResponseWriter, *http.Request) {})
	conn, err := d.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()

	outside, err := net.Listen("unix", d.SocketDir+"-outside")
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	for link, target := range map[string]string{
		"link.sock": d.SocketDir + "-outside", "inner.sock": strings.TrimPrefix(address, "unix:"), "up": "..", "self": ".",
	} {
		if err := os.Symlink(target, filepath.Join(d.SocketDir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(d.SocketDir, "plain"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{
		"", "unix", "unix:", "unix:" + d.SocketDir, "unix:" + d.SocketDir + "/",
		"unix:" + d.SocketDir + "-outside", "unix:/run/docker.sock", "unix:" + d.SocketDir + "/../x", "unix:" + d.SocketDir + "/a/../a/llm.sock", "unix:@abstract",
		"unix:" + d.SocketDir + "/link.sock", "unix:" + d.SocketDir + "/inner.sock", "unix:" + d.SocketDir + "/self/a/llm.sock", "unix:" + d.SocketDir + "/up/x",
		"unix:" + d.SocketDir + "/plain", "unix:" + d.SocketDir + "/a",
		"tcp:", "tcp:127.0.0.1", "tcp:127.0.0.1:0", "tcp:localhost:80", "tcp:0.0.0.0:80", "tcp:192.0.2.1:80", "tcp:[::]:80", "tcp:[2001:db8::1]:80", "udp:127.0.0.1:53",
	} {
		conn, err := d.Dial(t.Context(), address)
		if err == nil {
			conn.Close()
		}
		if fault.ReasonOf(err) != agentpb.Reason_INVALID {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := d.Dial(t.Context(), "unix:"+d.SocketDir+"/absent.sock"); err == nil || fault.ReasonOf(err) == agentpb.Reason_INVALID {
		t.Errorf("a socket that isn't there yet: %v", err)
	}
}

func TestLoopbackCanBeReached(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	conn, err := (Dialer{SocketDir: "/nowhere"}).Dial(t.Context(), "tcp:"+s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestServerIsAskedForACompletion(t *testing.T) {
	d, address := server(t, func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Model     string `json:"model"`
			MaxTokens int    `json:"max_tokens"`
		}
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/v1/chat/completions" || json.Unmarshal(body, &asked) != nil || asked.Model != "tiny" || asked.MaxTokens != 1 {
			t.Errorf("asked %s for %s", r.URL, body)
		}
		io.WriteString(w, `{"choices":[{"message":{"content":"Hi"}}]}`)
	})
	if err := d.Ask(t.Context(), address, "tiny", ""); err != nil {
		t.Error(err)
	}
}

func TestOnlyACompletionIsAnAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"loading":      {503, `{"error":{"message":"Loading model","code":503}}`, "503 Service Unavailable: Loading model"},
		"another page": {200, "<html>It works!</html>", "no chat completion"},
		"no choices":   {200, `{"choices":[]}`, "no chat completion"},
		"plain error":  {500, "out of\nmemory", "500 Internal Server Error: out of memory"},
		"a redirect":   {302, "", "302 Found"},
	} {
		t.Run(name, func(t *testing.T) {
			d, address := server(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://127.0.0.1:1/")
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			})
			if err := d.Ask(t.Context(), address, "tiny", ""); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestAskingCanBeGivenUp(t *testing.T) {
	release := make(chan struct{})
	asked := make(chan struct{})
	d, address := server(t, func(http.ResponseWriter, *http.Request) { close(asked); <-release })
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if err := d.Ask(ctx, address, "tiny", ""); err == nil {
		t.Error("an answer that was never given")
	}
}
