package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/transfer"
)

// push sends the model from this machine, after it was looked at.
func (p *placing) push(ctx context.Context) (*agentpb.ChangeResponse, error) {
	src, err := source.Open(ctx, p.from, p.options())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the host lacks the model with SHA-256 %s: %w", p.in.SHA256, err)
	}
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if err := p.checkSource(ctx, src); err != nil {
		return nil, err
	}
	result, err := p.send(ctx, src)
	if err != nil {
		return nil, err
	}
	return &agentpb.ChangeResponse{Generation: result.Generation, Changed: result.Changed}, nil
}

// maxFutile is how many connections in a row may be cut before anything was sent.
const maxFutile = 3

// send pushes, and goes on over a new connection when the one that it had was cut, as long as
// there is a new one and something goes through.
func (p *placing) send(ctx context.Context, src transfer.Source) (transfer.Result, error) {
	lanes, release, err := takeLanes(ctx)
	if err != nil {
		return transfer.Result{}, err
	}
	defer release()
	for futile := 0; ; {
		var sent uint64
		result, err := transfer.Push(ctx, p.host, p.header, src, transfer.Options{
			Progress: func(now transfer.Progress) {
				sent = now.Sent
				p.status.show(now)
			},
			MaxLanes: lanes,
		})
		if futile++; sent > 0 {
			futile = 0
		}
		if err == nil || !errors.Is(err, remote.ErrUnreachable) || futile == maxFutile || ctx.Err() != nil {
			return result, err
		}
		p.status.say("the connection was cut: connecting again")
		host, dialErr := connectToChange(ctx)
		if dialErr != nil {
			return result, err
		}
		p.host = host
	}
}

// dialSource connects to the host that an ssh source names, as the user's own ssh would.
func dialSource(ctx context.Context, s modelfile.Source) (source.Host, io.Closer, error) {
	h, err := operationOf(ctx).instance.dial(ctx, remote.Target{Address: s.Address, Port: s.Port, User: s.User})
	if err != nil {
		return nil, nil, err
	}
	return h.Agent(), io.NopCloser(nil), nil // the connection is the process's
}
