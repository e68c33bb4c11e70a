package agent

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/llmhost/llmhost/internal/agent/gpucontainer"
)

// gpuKeeper is a manager that looks after each reload whether containers have lost their GPU by it.
type gpuKeeper struct {
	manager
	docker gpucontainer.Docker
	log    *slog.Logger
}

// Reload has systemd read its units again.
func (k *gpuKeeper) Reload(ctx context.Context) error {
	if err := k.manager.Reload(ctx); err != nil {
		return err
	}
	// The reload has happened, whoever still waits for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	lost, err := k.docker.Find(ctx)
	if err != nil {
		k.log.Warn("whether containers still have their GPU could not be told", "error", err)
		return nil
	}
	for _, l := range lost {
		if err := k.docker.Restart(ctx, l); err != nil {
			k.log.Warn("a container has lost its GPU by a reload of systemd and could not be started again", "container", l.Name, "error", err)
			continue
		}
		k.log.Warn("a container had lost its GPU by a reload of systemd and was started again: llmhost doctor says how to keep that from happening", "container", l.Name)
	}
	return nil
}

// Close ends the connection to systemd.
func (k *gpuKeeper) Close() error {
	if m, ok := k.manager.(io.Closer); ok {
		return m.Close()
	}
	return nil
}
