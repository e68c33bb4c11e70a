package source

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// Locate says where a machine that is to fetch a model by itself finds its files: an https source's
// addresses, as they follow from its text, or those that a hub lists. A file's size and digest are
// known as far as the list tells them. The token goes with the addresses that it is for.
func Locate(ctx context.Context, s modelfile.Source, o Options) ([]transfer.File, []Address, error) {
	switch s.Kind {
	case modelfile.HTTPS:
		list, err := addressesOf(s, o)
		if err != nil {
			return nil, nil, err
		}
		var files []transfer.File
		for _, a := range list {
			files = append(files, transfer.File{Name: a.Name})
		}
		return files, list, nil
	case modelfile.Hub:
		c := newClient(http.ProxyFromEnvironment)
		defer c.close()
		found, err := listHub(ctx, c, s, o)
		if err != nil {
			return nil, nil, err
		}
		var list []Address
		for i, f := range found.files {
			at := found.remote[i]
			list = append(list, Address{Name: f.Name, URL: at.url.String(), Token: at.token})
		}
		return found.files, list, nil
	}
	return nil, nil, fmt.Errorf("the source %s has no address", s.Text)
}

// tokenFor is the token for an address: the one of the hub, if the address is of the hub's host.
// Any other server could ask for a token, too, and keep it.
func (o Options) tokenFor(address string) string {
	hub := o.Hub
	if hub == "" {
		hub = DefaultHub
	}
	at, err := url.Parse(address)
	home, hubErr := url.Parse(hub)
	if err != nil || hubErr != nil || origin(at) != origin(home) {
		return ""
	}
	return o.Token
}
