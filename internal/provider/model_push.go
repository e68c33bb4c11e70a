package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

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

// send pushes over as many lanes as other pushes have left.
func (p *placing) send(ctx context.Context, src transfer.Source) (result transfer.Result, err error) {
	lanes, release, err := takeLanes(ctx)
	if err != nil {
		return transfer.Result{}, err
	}
	defer release()
	err = p.untilItEnds(ctx, func() (err error) {
		result, err = transfer.Push(ctx, p.host, p.header, src, transfer.Options{Progress: p.status.show, MaxLanes: lanes})
		return err
	})
	return result, err
}

// maxFutile is how many connections in a row may be cut before anything was moved.
const maxFutile = 3

// untilItEnds repeats what goes on where it was cut off, over a new connection: as long as there
// is one, and something moves.
func (p *placing) untilItEnds(ctx context.Context, attempt func() error) error {
	for futile := 0; ; {
		p.status.moved = false
		err := attempt()
		if futile++; p.status.moved {
			futile = 0
		}
		if err == nil || !errors.Is(err, remote.ErrUnreachable) || futile == maxFutile || ctx.Err() != nil {
			return err
		}
		p.status.say("the connection was cut: connecting again")
		host, dialErr := connectAgain(ctx)
		if dialErr != nil {
			return err
		}
		p.host = host
	}
}

// connectAgain connects to an agent that answers. That the last one has died may not be noticed
// yet, and its lease died with it.
func connectAgain(ctx context.Context) (Host, error) {
	const tries, pause = 10, 300 * time.Millisecond
	for i := 1; ; i++ {
		h, err := connectToChange(ctx)
		if err != nil {
			return nil, err
		}
		_, err = h.Agent().Ping(ctx, &agentpb.PingRequest{})
		if err == nil || i == tries {
			return h, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
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
