package watch

import (
	"context"
	"fmt"
	"time"

	"github.com/llmhost/llmhost/internal/agent/models"
	"github.com/llmhost/llmhost/internal/checkrecord"
	"github.com/llmhost/llmhost/internal/progress"
	"github.com/llmhost/llmhost/internal/transfer"
)

// lineEvery is how often the journal is told how far a reading is: a model of 200 GB takes an
// hour on a disk that gives way to everything else.
const lineEvery = time.Minute

// Verify reads the models of records, and of folders of records, from beginning to end and
// compares them with what the records say. A model that was found good within maxAge is left out,
// so that a run which was cut off goes on where it was; one that wasn't good never is.
//
// It writes the metrics of all models whatever it finds. When ctx is done it stops where it is,
// which is no error.
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
		if ctx.Err() != nil {
			fmt.Fprintf(w.Out, "interrupted in model %s, which the next verification reads from the beginning\n", r.Name)
			return wrong.err()
		}
		run.models = append(run.models, m)
		if m.fault != "" {
			wrong.addf("model %s: %s", r.Name, m.fault)
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
	// Nothing is read for this, so that what has changed isn't read twice.
	before, err := models.Look(ctx, w.Digests, r.Path, models.Options{Recall: true})
	if err == nil && before.Verified != nil {
		m.of(before)
		age := time.Since(m.verified)
		if age >= 0 && age < maxAge && fault(r, before) == "" {
			fmt.Fprintf(w.Out, "model %s: was found good %s ago, and is left out until that is %s ago\n",
				r.Name, progress.Duration(age), progress.Duration(maxAge))
			return m
		}
	}
	after, err := w.read(ctx, r)
	if err != nil {
		m.fault = fmt.Sprintf("%s can't be read: %v", r.Path, err)
		return m
	}
	m.of(after)
	m.fault = fault(r, after)
	return m
}

// read reads a model to its end and keeps the result, for the next start of a server and for
// drift.
func (w *Watcher) read(ctx context.Context, r *checkrecord.Record) (*models.Model, error) {
	begun := time.Now()
	m, err := models.Verify(ctx, w.Digests, r.Path, models.VerifyOptions{
		Want: r.SHA256, Remember: true, Idle: true, Progress: w.progress(r.Name),
		Also: func(m *models.Model) error { return signed(r, m) },
	})
	if err == nil && fault(r, m) == "" {
		fmt.Fprintf(w.Out, "model %s: %s is as pinned, read in %s\n", r.Name, r.Path, progress.Duration(time.Since(begun)))
	}
	return m, err
}

// progress says how far the reading of a model is, now and then.
func (w *Watcher) progress(name string) func(file string, done, total uint64) {
	var meter progress.Meter
	said := time.Now()
	return func(_ string, done, total uint64) {
		now := time.Now()
		meter.Add(transfer.Progress{Phase: "verify", Done: done, Total: total}, now)
		if now.Sub(said) >= lineEvery {
			said = now
			fmt.Fprintf(w.Out, "model %s: %s\n", name, meter.String())
		}
	}
}
