package contained

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/llmhost/llmhost/internal/agent/credential"
	"github.com/llmhost/llmhost/internal/agent/local"
)

// Probe is a container's health check.
//
// A server's own health page can say that all is well of an engine that is dead (vLLM's does), and
// a completion takes the place of somebody else's, or throws away what was cached for it. So a
// completion is asked now and then, and the page in between. A server that doesn't get round to an
// answer while its page does may just be busy, for as long as Patience.
type Probe struct {
	Dialer local.Dialer
	// Memory is a file that remembers the last completion by its time.
	Memory string
	// Every is how often a completion is asked.
	Every time.Duration
	// Patience is how long a server may be too busy for a completion.
	Patience time.Duration
	// Limit is how long one answer may take.
	Limit time.Duration
	// KeyFile holds the API keys that the server demands, in whatever form its engine reads them, of
	// which the first is sent; empty for a server without.
	KeyFile string
}

// NewProbe is the probe of a model server in its container.
func NewProbe() Probe {
	return Probe{
		Dialer: local.Dialer{SocketDir: local.DefaultSocketDir}, Memory: filepath.Join(os.TempDir(), ".llmhost-answered"),
		Every: 10 * time.Minute, Patience: 30 * time.Minute, Limit: 10 * time.Second,
	}
}

// Ask is nil when the server works, as far as is known without being in its way.
func (p Probe) Ask(ctx context.Context, address, model string) error {
	if err := p.page(ctx, address); err != nil {
		return err
	}
	last := p.last()
	if time.Since(last) < p.Every {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, p.Limit)
	defer cancel()
	key, err := p.key()
	if err != nil {
		return err
	}
	err = p.Dialer.Ask(within, address, model, key)
	switch {
	case err == nil:
		return p.remember()
	case errors.Is(err, context.DeadlineExceeded) && time.Since(last) < p.Patience:
		return nil // busy
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the server says that it is well, and has given no completion within %s", p.Limit)
	default:
		return err
	}
}

func (p Probe) key() (string, error) {
	if p.KeyFile == "" {
		return "", nil
	}
	keys, err := os.ReadFile(p.KeyFile)
	if err != nil {
		return "", fmt.Errorf("read the server's API key: %w", err)
	}
	return credential.FirstAPIKey(keys)
}

// page asks for /health, which llama.cpp and vLLM have. A server without one isn't ill.
func (p Probe) page(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, p.Limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/health", nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return p.Dialer.Dial(ctx, address) },
	}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16)) // so that the server sees no broken connection
	if resp.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("the server answers %s", resp.Status)
	}
	return nil
}

// last is when a completion was last seen, and long ago when none was.
func (p Probe) last() time.Time {
	is, err := os.Stat(p.Memory)
	if err != nil {
		return time.Time{}
	}
	return is.ModTime()
}

func (p Probe) remember() error {
	f, err := os.OpenFile(p.Memory, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("remember that the server has answered: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("remember that the server has answered: %w", err)
	}
	now := time.Now()
	return os.Chtimes(p.Memory, now, now)
}
