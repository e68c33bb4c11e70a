package watch

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/checkrecord"
	"github.com/llmhost/llmhost/internal/progress"
	"github.com/llmhost/llmhost/internal/transfer"
)

// lineEvery is how often a verification says how far it is: a model of 200 GB takes an hour on
// a disk that gives way to everything else.
const lineEvery = time.Minute

// Verify reads the models of records, and of folders of records, from beginning to end and
// compares them with what the records say. A model that was found good within maxAge is left out,
// so that a run which was cut off goes on where it was; one that wasn't good never is.
//
// It writes the metrics of all models whatever it finds.
func (w *Watcher) Verify(ctx context.Context, args []string, maxAge time.Duration) error {
	files, err := recordFiles(args)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		fmt.Fprintln(w.Out, "no model is recorded here, so there is nothing to verify")
	}
	var wrong refusal
	run := metrics{begun: time.Now()}
	for _, file := range files {
		r, err := readRecord(file)
		if err != nil {
			wrong.addf("%v", err)
			run.broken++
			continue
		}
		m := w.verify(ctx, r, maxAge)
		run.models = append(run.models, m)
		if m.fault != "" {
			wrong.addf("model %s: %s", r.Name, m.fault)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted; what was verified is remembered: %w", ctx.Err())
		}
	}
	if err := run.write(w.Metrics, time.Now()); err != nil {
		wrong.addf("the metrics can't be written: %v", err)
	}
	return wrong.err()
}

// verify verifies one model, unless that was done lately.
func (w *Watcher) verify(ctx context.Context, r *checkrecord.Record, maxAge time.Duration) measured {
	m := measured{name: r.Name}
	before, err := w.Models.ObserveModel(ctx, &agentpb.ObserveModelRequest{Path: r.Path})
	if err != nil {
		m.fault = fmt.Sprintf("%s can't be read: %v", r.Path, err)
		return m
	}
	m.of(before)
	if age := time.Since(m.verified); age < maxAge && age >= 0 && w.fault(r, before) == "" {
		fmt.Fprintf(w.Out, "model %s: was found good %s ago, and is left out until that is %s ago\n",
			r.Name, progress.Duration(age), progress.Duration(maxAge))
		return m
	}
	after, err := w.read(ctx, r)
	if err != nil {
		m.fault = fmt.Sprintf("%s can't be read: %v", r.Path, err)
		return m
	}
	m.of(after)
	m.fault = w.fault(r, after)
	return m
}

// read has the agent read a model to its end.
func (w *Watcher) read(ctx context.Context, r *checkrecord.Record) (*agentpb.ModelState, error) {
	begun := time.Now()
	events := &events{ctx: ctx, out: func(e *agentpb.ModelEvent) {}}
	var meter progress.Meter
	said := begun
	events.out = func(e *agentpb.ModelEvent) {
		meter.Add(transfer.Progress{Phase: "verify", Done: e.GetDoneBytes(), Total: e.GetTotalBytes()}, time.Now())
		if time.Since(said) >= lineEvery {
			said = time.Now()
			fmt.Fprintf(w.Out, "model %s: %s\n", r.Name, meter.String())
		}
	}
	err := w.Models.VerifyModel(&agentpb.VerifyModelRequest{Path: r.Path, Sha256: r.SHA256}, events)
	if err != nil {
		return nil, err
	}
	if events.last == nil {
		return nil, fmt.Errorf("the verification has ended without a result")
	}
	if w.fault(r, events.last) == "" {
		fmt.Fprintf(w.Out, "model %s: %s is as pinned, read in %s\n", r.Name, r.Path, progress.Duration(time.Since(begun)))
	}
	return events.last, nil
}

// events takes what the agent would send, in the same process.
type events struct {
	grpc.ServerStream // nil: nothing but Send and Context is called
	ctx               context.Context
	out               func(*agentpb.ModelEvent)
	last              *agentpb.ModelState
}

func (e *events) Context() context.Context { return e.ctx }

func (e *events) Send(event *agentpb.ModelEvent) error {
	if s := event.GetState(); s != nil {
		e.last = s
	} else {
		e.out(event)
	}
	return e.ctx.Err()
}
