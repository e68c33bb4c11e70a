package source

import (
	"context"
	"fmt"
	"net/http"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// Options are what opening a source may need.
type Options struct {
	// Hub is the address of the hub that hf:// stands for; empty: DefaultHub.
	Hub string
	// Token is a secret for what is private at the hub. It is sent as a bearer token to the hub's
	// own host and nowhere else, and only after it has refused an answer without one.
	Token string
	// Cache remembers the digests of local files; it may be nil.
	Cache *Cache
	// Dial reaches another host, for ssh://.
	Dial Dialer
}

// Open opens a source for reading on this machine. Addresses and hubs are asked through the proxy
// that the environment names, if it does.
func Open(ctx context.Context, s modelfile.Source, o Options) (transfer.Source, error) {
	switch s.Kind {
	case modelfile.Local:
		return Local(s.Path, s.Folder, o.Cache)
	case modelfile.HTTPS:
		addresses, err := addressesOf(s, o)
		if err != nil {
			return nil, err
		}
		return openAddresses(ctx, newClient(http.ProxyFromEnvironment), addresses)
	case modelfile.Hub:
		return openHub(ctx, newClient(http.ProxyFromEnvironment), s, o)
	case modelfile.SSH:
		return openHost(ctx, s, o)
	case modelfile.Host:
		return nil, fmt.Errorf("the source %s is on the host already and isn't brought there", s.Text)
	}
	return nil, fmt.Errorf("the source %s is of the unknown kind %q", s.Text, s.Kind)
}
