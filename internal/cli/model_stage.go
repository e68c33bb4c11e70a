package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/progress"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/transfer"
)

// versionName is a model's name with the beginning of its digest, so that it never is in the place
// of another version: that of a copy, and that of bytes which are on a host ahead of `llmhost up`.
func versionName(d declaredModel) string {
	name := strings.TrimSuffix(path.Base(d.path), ".gguf") + "-" + short(d.sha256)
	if !d.folder {
		name += ".gguf"
	}
	return name
}

// staging brings the bytes of declared models to their host ahead of `llmhost up`. They get names
// of their own there, so that no server sees them: up then links them, without sending anything.
type staging struct {
	host *modelHost
	view *progress.View
}

// ahead is where the bytes of a model are when they are ahead.
func (s staging) ahead(d declaredModel) string { return path.Join(path.Dir(d.path), versionName(d)) }

// find looks whether the host has the bytes, in the model's place or ahead; at is empty if not.
func (s staging) find(ctx context.Context, d declaredModel) (at string, size uint64, err error) {
	for _, at := range []string{d.path, s.ahead(d)} {
		is, err := s.host.Agent().ObserveModel(ctx, &agentpb.ObserveModelRequest{Path: at})
		if err != nil {
			return "", 0, err
		}
		if is.GetExists() && is.GetSha256() == d.sha256 {
			return at, is.GetSize(), nil
		}
	}
	return "", 0, nil
}

// header is what the host is told of the bytes: with the owner of the models' folder, so that
// they can be linked.
func (s staging) header(ctx context.Context, d declaredModel) (*agentpb.ModelHeader, error) {
	folder := path.Dir(d.path)
	is, err := s.host.Agent().ObservePath(ctx, &agentpb.ObservePathRequest{Path: folder, Kind: "Directory"})
	switch {
	case err != nil:
		return nil, err
	case !is.GetExists():
		return nil, fmt.Errorf("%s has no folder %s yet: `llmhost up -s %s` makes it, and brings the model too", s.host.name, folder, s.host.name)
	}
	return &agentpb.ModelHeader{Path: s.ahead(d), Sha256: d.sha256, Folder: d.folder, Mode: 0o640, Owner: is.GetOwner(), Group: is.GetGroup()}, nil
}

// push sends the bytes of a source.
func (s staging) push(ctx context.Context, d declaredModel, src transfer.Source) (transfer.Result, error) {
	header, err := s.header(ctx, d)
	if err != nil {
		return transfer.Result{}, err
	}
	return transfer.Push(ctx, s.host.Conn, header, src, transfer.Options{Progress: func(at transfer.Progress) { s.view.Show(d.name, at) }})
}

// fetch has the host bring the bytes itself, from addresses or from paths on it.
func (s staging) fetch(ctx context.Context, d declaredModel, files []transfer.File, from []*agentpb.ModelOrigin) error {
	header, err := s.header(ctx, d)
	if err != nil {
		return err
	}
	return fetchModel(ctx, s.host.Conn, header, files, from, func(at transfer.Progress) { s.view.Show(d.name, at) })
}

// fetchModel has a host bring a model that no stack owns.
func fetchModel(ctx context.Context, conn *remote.Conn, header *agentpb.ModelHeader, files []transfer.File, from []*agentpb.ModelOrigin, report func(transfer.Progress)) error {
	for _, f := range files {
		header.Files = append(header.Files, &agentpb.ModelFile{Name: f.Name, Size: f.Size, Sha256: f.SHA256})
		header.Size += f.Size
	}
	stream, err := conn.Agent().FetchModel(ctx, &agentpb.FetchModelRequest{Header: header, From: from})
	if err != nil {
		return err
	}
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		report(transfer.Progress{Phase: "copy", Done: event.GetDoneBytes(), Total: event.GetTotalBytes()})
	}
}

// one makes the host have the bytes of one model.
func (s staging) one(ctx context.Context, d declaredModel, o source.Options) (*pushed, error) {
	if d.model == nil {
		return nil, fmt.Errorf("%s doesn't declare it", s.host.file.File)
	}
	started := time.Now()
	header := &agentpb.ModelHeader{Path: s.ahead(d), Folder: d.folder}
	at, size, err := s.find(ctx, d)
	if err != nil {
		return nil, err
	}
	if at != "" {
		header.Path = at
		one := newPushed(s.host.name, header, transfer.Result{SHA256: d.sha256, Found: size}, time.Since(started))
		one.Size = size
		return one, nil
	}
	result, err := s.bring(ctx, d, o)
	if err != nil {
		return nil, err
	}
	return newPushed(s.host.name, header, result, time.Since(started)), nil
}

// bring brings a declared model from the source that its host file names.
func (s staging) bring(ctx context.Context, d declaredModel, o source.Options) (transfer.Result, error) {
	if d.source.Kind == modelfile.Host {
		return transfer.Result{}, fmt.Errorf("it is on the host already, at %s", d.source.Path)
	}
	web := d.source.Kind == modelfile.HTTPS || d.source.Kind == modelfile.Hub
	if !web || d.model.Download == hostfile.DownloadHere {
		src, err := source.Open(ctx, d.source, o)
		if err != nil {
			return transfer.Result{}, err
		}
		defer src.Close()
		return s.push(ctx, d, src)
	}
	files, addresses, err := source.Locate(ctx, d.source, o)
	if err != nil {
		return transfer.Result{}, err
	}
	var from []*agentpb.ModelOrigin
	for _, a := range addresses {
		from = append(from, &agentpb.ModelOrigin{Where: &agentpb.ModelOrigin_Url{Url: a.URL}, Token: a.Token})
	}
	return transfer.Result{Changed: true, SHA256: d.sha256, Files: files}, s.fetch(ctx, d, files, from)
}
