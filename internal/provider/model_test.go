package provider_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llmhost/llmhost/internal/testmodel"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// modelSource writes a local model of more than one piece, and returns its path and digest.
func modelSource(t *testing.T, seed uint64) (path, digest string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "source.gguf")
	digest, _, err := testmodel.Noise{Bytes: 3 << 20, Seed: seed}.WriteFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, digest
}

func modelInputs(t *testing.T, path, source, digest string) resource.PropertyMap {
	return mine(t, resource.PropertyMap{"path": str(path), "source": str(source), "sha256": str(digest)})
}

func TestModelLifecycle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gguf")
	source, digest := modelSource(t, 1)
	h := realHost(t)
	s := newStack(t, h)
	in := modelInputs(t, path, source, digest)
	s.mustUp("Model", "a", in, "create")
	if got := sumOf(t, path); got != digest {
		t.Fatalf("the host has %s, want %s", got, digest)
	}
	if got := s.drift("a"); got != nil {
		t.Errorf("drift of an untouched model: %v", got)
	}
	if err := os.Remove(source); err != nil { // bytes that the host has need no source
		t.Fatal(err)
	}
	s.mustUp("Model", "a", with(in, "source", str("/elsewhere/a.gguf")), "same")
	s.mustUp("Model", "a", with(in, "mode", str("0600")), "update")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the model's mode: %v, %v", info, err)
	}
	other, otherDigest := modelSource(t, 2)
	s.mustUp("Model", "a", modelInputs(t, path, other, otherDigest), "update")
	if got := sumOf(t, path); got != otherDigest {
		t.Errorf("the host has %s, want %s", got, otherDigest)
	}
	s.destroy("a")
	wantGone(t, path)
}

func TestModelDriftIsRepaired(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gguf")
	source, digest := modelSource(t, 1)
	s := newStack(t, realHost(t))
	in := modelInputs(t, path, source, digest)
	s.mustUp("Model", "a", in, "create")
	if err := os.WriteFile(path, []byte("damaged"), 0o640); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"sha256"}, s.drift("a")); diff != "" {
		t.Errorf("drift (-want +got):\n%s", diff)
	}
	s.refresh("a")
	s.mustUp("Model", "a", in, "update")
	if got := sumOf(t, path); got != digest {
		t.Errorf("the host has %s, want %s", got, digest)
	}
}

func TestModelWithoutItsSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gguf")
	s := newStack(t, realHost(t))
	for _, source := range []string{"", "/nowhere/a.gguf"} {
		_, err := s.up("Model", "a", modelInputs(t, path, source, digestA))
		if err == nil || !strings.Contains(err.Error(), "the host lacks the model with SHA-256 "+digestA) || !strings.Contains(err.Error(), source) {
			t.Errorf("source %q: %v", source, err)
		}
	}
	wantGone(t, path)
}

func TestModelWithAnotherDigestLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gguf")
	source, _ := modelSource(t, 1)
	s := newStack(t, realHost(t))
	_, err := s.up("Model", "a", modelInputs(t, path, source, digestA))
	if err == nil || strings.Contains(err.Error(), "rpc error") {
		t.Fatalf("a wrong digest was not refused in words: %v", err)
	}
	wantNoPart(t, path)
	digest := sumOf(t, source)
	if _, err := s.up("Model", "a", modelInputs(t, path, source, digest)); err != nil {
		t.Fatalf("with the right digest: %v", err)
	}
	if got := sumOf(t, path); got != digest {
		t.Errorf("the host has %s, want %s", got, digest)
	}
	s.destroy("a")
	wantGone(t, path)
}

// A model that was deployed before models had other sources than local files is as it was.
func TestModelStateOfAnOlderVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gguf")
	source, digest := modelSource(t, 1)
	s := newStack(t, realHost(t))
	in := modelInputs(t, path, source, digest)
	saved := s.mustUp("Model", "a", in, "create")
	f := loadFixture(t, "model-older")
	older := func(fixture map[string]any, now resource.PropertyMap) resource.PropertyMap {
		old := resource.NewPropertyMapFromMap(fixture)
		for key, v := range old {
			if v.IsString() && v.StringValue() == "set by the test" {
				old[key] = now[key]
			}
		}
		return old
	}
	saved.inputs, saved.outputs = older(f.Inputs, saved.inputs), older(f.Outputs, saved.outputs)
	if got := s.drift("a"); got != nil {
		t.Errorf("drift after an upgrade: %v", got)
	}
	s.mustUp("Model", "a", in, "same")
	s.mustUp("Model", "a", with(in, "mode", str("0600")), "update")
	s.destroy("a")
	wantGone(t, path)
}

// A push that is cancelled gives the model no name, and the next run goes on with what has arrived.
// Whether its claim is still in the ledger when the provider looks is a matter of time; either
// way a destroy leaves nothing.
func TestCancelledPush(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gguf")
	source, digest := modelSource(t, 1)
	in := modelInputs(t, path, source, digest)
	h := &interruptedHost{host: realHost(t), after: 2 << 20}
	s := newStack(t, h)
	h.interrupt = func(lane io.Closer) error {
		if err := s.provider.SignalCancellation(context.Background()); err != nil {
			t.Error(err)
		}
		return nil
	}
	if _, err := s.up("Model", "a", in); err == nil || strings.Contains(err.Error(), "rpc error") {
		t.Fatalf("a cancelled push was not reported in words: %v", err)
	}
	wantGone(t, path)

	again := newStack(t, h.host) // the next run
	again.states = s.states
	if _, err := again.up("Model", "a", in); err != nil {
		t.Fatalf("the next run: %v", err)
	}
	if got := sumOf(t, path); got != digest {
		t.Errorf("the host has %s, want %s", got, digest)
	}
	again.destroy("a")
	wantGone(t, path)
	wantNoPart(t, path)
}

// A connection that is cut and comes back doesn't end the run: the push goes on over a new one.
func TestPushOutlivesItsConnection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gguf")
	source, digest := modelSource(t, 1)
	h := &interruptedHost{host: realHost(t), after: 2 << 20}
	cuts := 0
	h.interrupt = func(lane io.Closer) error {
		cuts++
		lane.Close()
		return io.ErrClosedPipe
	}
	s := newStack(t, h)
	s.mustUp("Model", "a", modelInputs(t, path, source, digest), "create")
	if cuts == 0 {
		t.Error("the connection was not cut")
	}
	if got := sumOf(t, path); got != digest {
		t.Errorf("the host has %s, want %s", got, digest)
	}
	if h.sent > 6<<20 {
		t.Errorf("%d bytes were sent of a model of 3 MiB", h.sent)
	}
	s.destroy("a")
	wantNoPart(t, path)
}

// interruptedHost calls interrupt in the middle of the first push.
type interruptedHost struct {
	*host
	after     int // bytes
	sent      int
	interrupt func(lane io.Closer) error
}

func (h *interruptedHost) Lane(ctx context.Context) (io.ReadWriteCloser, error) {
	l, err := h.host.Lane(ctx)
	if err != nil {
		return nil, err
	}
	return interruptedLane{l.(lane), h}, nil
}

type interruptedLane struct {
	lane
	host *interruptedHost
}

func (l interruptedLane) Write(b []byte) (int, error) {
	before := l.host.sent
	l.host.sent += len(b)
	if before < l.host.after && l.host.sent >= l.host.after {
		if err := l.host.interrupt(l.lane); err != nil {
			return 0, err
		}
		<-l.lane.ctx.Done()
	}
	return l.lane.Write(b)
}

func sumOf(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// wantNoPart demands that a push which failed has left nothing beside its target, either. The
// agent cleans up after the client has gone, so it is given some time.
func wantNoPart(t *testing.T, path string) {
	t.Helper()
	var left []os.DirEntry
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var err error
		if left, err = os.ReadDir(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("the push has left %v", left)
}
