package source

import (
	"context"
	"fmt"
	"net/http"
	"path"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// Locate says where a machine that is to fetch a model by itself finds its files. Nothing is asked
// that follows from the source's text: only a folder of a repository has to be listed, and a
// revision that is no commit looked up. A file's size and digest are known as far as a list tells
// them. The token goes with the addresses that it is for.
func Locate(ctx context.Context, s modelfile.Source, o Options) ([]transfer.File, []Address, error) {
	var files []transfer.File
	var list []Address
	switch s.Kind {
	case modelfile.HTTPS:
		var err error
		if list, err = addressesOf(s, o); err != nil {
			return nil, nil, err
		}
	case modelfile.Hub:
		c := newClient(http.ProxyFromEnvironment)
		defer c.close()
		shard, isShard := s.Shard()
		if s.Folder && !isShard {
			found, err := listHub(ctx, c, s, o)
			if err != nil {
				return nil, nil, err
			}
			for i, f := range found.files {
				list = append(list, found.remote[i].address(f.Name))
			}
			return found.files, list, nil
		}
		h, err := findHub(ctx, c, s, o)
		if err != nil {
			return nil, nil, err
		}
		if !isShard {
			list = append(list, h.resolve(s.Path).address(""))
			break
		}
		for _, name := range shard.All() {
			list = append(list, h.resolve(path.Join(parent(s.Path), name)).address(name))
		}
	default:
		return nil, nil, fmt.Errorf("the source %s has no address", s.Text)
	}
	for _, a := range list {
		files = append(files, transfer.File{Name: a.Name})
	}
	return files, list, nil
}

func (w where) address(name string) Address {
	return Address{Name: name, URL: w.url.String(), Token: w.token}
}
