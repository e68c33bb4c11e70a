package source

import (
	"context"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/transfer"
)

// SetSettled replaces how long a file must have been left alone.
func SetSettled(t *testing.T, d time.Duration) {
	was := settled
	settled = d
	t.Cleanup(func() { settled = was })
}

// Impatient opens addresses as Addresses does, trusts the given CAs, and waits only for so long
// for a silent server and before a second try.
func Impatient(ctx context.Context, list []Address, roots *x509.CertPool, silence, delay time.Duration) (transfer.Source, error) {
	c := newClient(nil)
	c.silence, c.firstDelay = silence, delay
	c.web.(*http.Transport).TLSClientConfig.RootCAs = roots
	return openAddresses(ctx, c, list)
}

// Scripted opens an address whose server is a round tripper.
func Scripted(ctx context.Context, a Address, server http.RoundTripper) (transfer.Source, error) {
	c := newClient(nil)
	c.web, c.firstDelay = server, 0
	return openAddresses(ctx, c, []Address{a})
}
