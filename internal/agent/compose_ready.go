package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/docker"
)

// await waits until each service's container runs and each server has answered, and returns the
// containers then. What never will is an error as soon as that is known.
func (p *composePut) await(ctx context.Context, readiness map[string]*agentpb.Readiness) ([]*docker.Container, error) {
	limit := time.Minute
	for _, r := range readiness {
		limit = max(limit, time.Duration(min(r.GetTimeoutSeconds(), maxReadySeconds))*time.Second)
	}
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	w := &composeWait{put: p, asked: map[string]*agentpb.Readiness{}, answers: make(chan composeAnswer), begun: time.Now()}
	for service, r := range readiness {
		w.asked[service] = r
	}
	now, err := w.until(waiting)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		service := slices.Sorted(maps.Keys(w.asked))[0]
		return nil, w.why(ctx, service, fmt.Sprintf("the server in %s has not answered within %s: %s", service, limit, w.said))
	}
	return now, err
}

// composeWait is the waiting for the servers of a project.
type composeWait struct {
	put     *composePut
	asked   map[string]*agentpb.Readiness // that have not answered yet
	answers chan composeAnswer
	begun   time.Time

	said   string
	saidAt time.Time
}

type composeAnswer struct {
	service string
	err     error
}

func (w *composeWait) until(ctx context.Context) ([]*docker.Container, error) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	asking := map[string]bool{}
	first := map[string]uint32{}
	for {
		now, err := w.put.server.docker.Containers(ctx, w.put.name)
		if err != nil {
			return nil, firstOf(ctx.Err(), err)
		}
		now = slices.DeleteFunc(now, func(c *docker.Container) bool { return c.OneOff })
		running := 0
		for _, c := range now {
			if _, known := first[c.ID]; !known {
				first[c.ID] = c.Restarts
			}
			if err := w.hopeless(ctx, c, first[c.ID]); err != nil {
				return nil, err
			}
			if c.State != "running" {
				continue
			}
			running++
			if r := w.asked[c.Service]; r != nil && !asking[c.Service] {
				asking[c.Service] = true
				go w.ask(ctx, c.Service, r)
			}
		}
		if len(w.asked) == 0 && running == len(now) {
			return now, nil
		}
		if len(w.asked) > 0 && w.said == "" {
			w.say("waiting for " + strings.Join(slices.Sorted(maps.Keys(w.asked)), ", "))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case a := <-w.answers:
			asking[a.service] = false
			if a.err == nil {
				delete(w.asked, a.service)
				w.say(a.service + " has answered")
				continue
			}
			progress := a.err.Error()
			if errors.Is(a.err, fs.ErrNotExist) {
				progress = "waiting for its socket"
			}
			w.say(a.service + ": " + progress)
		case <-look.C:
			continue
		}
		select { // before asking again
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-look.C:
		}
	}
}

func (w *composeWait) ask(ctx context.Context, service string, r *agentpb.Readiness) {
	err := w.put.server.askOnce(ctx, r)
	select {
	case w.answers <- composeAnswer{service, err}:
	case <-ctx.Done():
	}
}

// hopeless is the error of a container for which there is nothing to wait any more.
func (w *composeWait) hopeless(ctx context.Context, c *docker.Container, firstRestarts uint32) error {
	switch {
	case c.State == "exited" || c.State == "dead":
		return w.why(ctx, c.Service, fmt.Sprintf("the container of %s doesn't run: %s", c.Service, trouble(c)))
	case c.Restarts >= firstRestarts+hopeless:
		return w.why(ctx, c.Service, fmt.Sprintf("the container of %s has ended and was started again %d times", c.Service, c.Restarts-firstRestarts))
	}
	return nil
}

// why adds what the container has said last.
func (w *composeWait) why(ctx context.Context, service, what string) error {
	failed := containerFailed("%s", what)
	containers, err := w.put.server.docker.Containers(context.WithoutCancel(ctx), w.put.name)
	if err != nil {
		return failed
	}
	for _, c := range containers {
		if c.Service == service {
			if lines := w.put.server.docker.Log(ctx, c.ID); len(lines) > 0 {
				return failed.With("log", strings.Join(lines, "\n"))
			}
		}
	}
	return failed
}

// say sends a line of progress when it is a new one, and now and then when it isn't.
func (w *composeWait) say(progress string) {
	if progress == w.said && time.Since(w.saidAt) < speakEvery {
		return
	}
	w.said, w.saidAt = progress, time.Now()
	w.put.say(fmt.Sprintf("%s (%s)", strings.TrimSuffix(progress, "."), time.Since(w.begun).Round(time.Second)))
}
