package provider

import (
	"context"
	"time"

	"github.com/llmhost/llmhost/internal/progress"
	"github.com/llmhost/llmhost/internal/transfer"
)

// status shows beside a resource how far something long is, once a second.
type status struct {
	ctx   context.Context
	meter progress.Meter
	shown time.Time
	moved bool // something went over a wire
}

func (s *status) show(at transfer.Progress) {
	now := time.Now()
	s.moved = s.moved || at.Sent > 0
	s.meter.Add(at, now)
	if now.Sub(s.shown) < time.Second {
		return
	}
	s.shown = now
	progressf(s.ctx, "%s %s", progress.Verb(at.Phase), &s.meter)
}

// say shows a step that has no measure.
func (s *status) say(step string) { progressf(s.ctx, "%s", step) }
