package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/transfer"
)

// placing is one model that is brought to where it belongs.
type placing struct {
	in     ModelArgs
	from   modelfile.Source // without a kind when there is no source
	host   Host
	header *agentpb.ModelHeader
	signed *signature // nil: none is demanded
	status *status
}

// put makes the model be at its path with its attributes. Of the ways that bring the bytes there,
// the cheapest is taken: they are there; the host has them under another path; the host fetches
// them by itself; they are sent from here.
//
// What is no model, or isn't signed, is refused before it is sent. What the host brings by itself
// is looked at when it is there, and removed again.
func (*Model) put(ctx context.Context, in ModelArgs, generation *string, doubted bool) (Recorded, error) {
	p, err := newPlacing(ctx, in, generation)
	if err != nil {
		return Recorded{}, err
	}
	if doubted { // the host's last look has found other bytes, or could not read them
		if err := p.verify(ctx); err != nil {
			return Recorded{}, err
		}
	}
	done, lacking, err := p.set(ctx)
	if err != nil {
		return Recorded{}, err
	}
	if done != nil {
		return recorded(done.GetGeneration()), p.checkOnHost(ctx)
	}
	switch {
	case p.from.Kind == modelfile.Host:
		return Recorded{}, fmt.Errorf("%s; nothing was touched: put the pinned model there, or pin what is there", lacking)
	case p.from.Kind == "":
		return Recorded{}, fmt.Errorf("the host lacks the model with SHA-256 %s (%s), and no source is given to bring it from", in.SHA256, lacking)
	case in.Download == downloadByHost && (p.from.Kind == modelfile.HTTPS || p.from.Kind == modelfile.Hub):
		done, err = p.fetch(ctx)
	default:
		done, err = p.push(ctx)
	}
	if err != nil {
		return Recorded{}, err
	}
	return recorded(done.GetGeneration()), nil
}

func newPlacing(ctx context.Context, in ModelArgs, generation *string) (*placing, error) {
	p := &placing{in: in, status: &status{ctx: ctx}}
	mode, err := parseMode(in.Mode)
	if err != nil {
		return nil, err
	}
	if in.Source != "" {
		if p.from, err = modelfile.ParseSource(in.Source); err != nil {
			return nil, fmt.Errorf("source: %w", err)
		}
		if p.from.Kind == modelfile.Local {
			p.from.Folder = in.Folder // a local file may have any name
		}
	}
	if in.PublicKey != nil {
		if p.signed, err = readSignature(*in.PublicKey, in.signatureFile(p.from)); err != nil {
			return nil, err
		}
	}
	if p.host, err = connectToChange(ctx); err != nil {
		return nil, err
	}
	c, err := claim(ctx, in.Path, generation, in.Adopt)
	if err != nil {
		return nil, err
	}
	p.header = &agentpb.ModelHeader{
		Claim: c, Sha256: in.SHA256, Folder: in.Folder, Mode: mode, Owner: in.Owner, Group: in.Group, SessionId: p.host.Session(),
		AttributesOnly: p.from.Kind == modelfile.Host, // other bytes must not take its place
	}
	return p, nil
}

// set makes the model of bytes that the host has. When it lacks them it says why.
func (p *placing) set(ctx context.Context) (done *agentpb.ChangeResponse, lacking string, err error) {
	events, err := p.host.Agent().SetModel(ctx, &agentpb.SetModelRequest{Header: p.header})
	if err != nil {
		return nil, "", err
	}
	last, err := p.follow(events)
	return last.GetResult(), last.GetText(), err
}

// verify makes the host read the model again, so that what it remembers of it is true.
func (p *placing) verify(ctx context.Context) error {
	seen, err := p.host.Agent().ObserveModel(ctx, &agentpb.ObserveModelRequest{Path: p.in.Path, Recall: true})
	if err != nil || !seen.GetExists() {
		return err
	}
	events, err := p.host.Agent().VerifyModel(ctx, &agentpb.VerifyModelRequest{Path: p.in.Path, Sha256: p.in.SHA256})
	if err != nil {
		return err
	}
	_, err = p.follow(events)
	return err
}

// follow shows what the agent says of its work, and returns the last event.
func (p *placing) follow(events grpc.ServerStreamingClient[agentpb.ModelEvent]) (*agentpb.ModelEvent, error) {
	for {
		e, err := events.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil, errors.New("the agent has ended its work without a result")
		case err != nil:
			return nil, err
		case e.GetResult() != nil, e.GetLacking(), e.GetState() != nil:
			return e, nil
		}
		phase, file, _ := strings.Cut(e.GetText(), " ")
		p.status.show(transfer.Progress{Phase: phase, File: file, Done: e.GetDoneBytes(), Total: e.GetTotalBytes(), Sent: e.GetDoneBytes()})
	}
}

// fetch has the host bring the model by itself. Whether it is one can be seen only then.
func (p *placing) fetch(ctx context.Context) (*agentpb.ChangeResponse, error) {
	p.status.say("asking where its files are")
	files, addresses, err := source.Locate(ctx, p.from, p.options())
	if err != nil {
		return nil, err
	}
	req := &agentpb.FetchModelRequest{Header: p.header}
	for i, f := range files {
		p.header.Files = append(p.header.Files, &agentpb.ModelFile{Name: f.Name, Size: f.Size, Sha256: f.SHA256})
		p.header.Size += f.Size
		req.From = append(req.From, &agentpb.ModelOrigin{
			Where: &agentpb.ModelOrigin_Url{Url: addresses[i].URL}, Token: addresses[i].Token,
		})
	}
	var last *agentpb.ModelEvent
	err = p.untilItEnds(ctx, func() error {
		events, err := p.host.Agent().FetchModel(ctx, req)
		if err != nil {
			return err
		}
		last, err = p.follow(events)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := p.checkOnHost(ctx); err != nil {
		if refuses(err) { // and not a connection that was lost
			err = errors.Join(err, p.takeBack(ctx, last.GetResult()))
		}
		return nil, err
	}
	return last.GetResult(), nil
}

// takeBack removes what was fetched and may not be used.
func (p *placing) takeBack(ctx context.Context, done *agentpb.ChangeResponse) error {
	c := p.header.GetClaim()
	c.Generation = done.GetGeneration()
	if _, err := p.host.Agent().Remove(ctx, &agentpb.RemoveRequest{Claim: c}); err != nil {
		return fmt.Errorf("it is still on the host: %w", err)
	}
	return nil
}

// options are what opening the source needs.
func (p *placing) options() source.Options {
	o := source.Options{Hub: p.in.Hub, Cache: source.UserCache(), Dial: dialSource}
	if p.in.Token != nil {
		o.Token = *p.in.Token
	}
	return o
}
