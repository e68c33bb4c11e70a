package provider_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/llmhost/llmhost/internal/provider"
	"github.com/llmhost/llmhost/internal/remote"
)

// The whole way without SSH: provider, package remote, and an agent process of its own.
func TestFileThroughAnAgentProcess(t *testing.T) {
	pool := remote.NewPool(remote.Options{Unprivileged: true})
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	state := t.TempDir()
	s := newStackWith(t, func(ctx context.Context, target remote.Target) (provider.Host, error) {
		return pool.Conn(ctx, remote.Target{HostID: target.HostID, Local: true, StateDir: state})
	})
	path := filepath.Join(t.TempDir(), "a")
	s.mustUp("File", "a", fileInputs(t, path, "text"), "create")
	wantFile(t, path, "text", 0o644)
	if got := s.drift("a"); got != nil {
		t.Errorf("drift of an untouched file: %v", got)
	}
	s.destroy("a")
	wantGone(t, path)
}
