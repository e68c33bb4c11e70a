package provider_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// modelSource writes a local model of a few chunks, and returns its path and digest.
func modelSource(t *testing.T, fill byte) (path, digest string) {
	t.Helper()
	content := slices.Repeat([]byte{fill}, 600<<10)
	path = filepath.Join(t.TempDir(), "source.gguf")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return path, hex.EncodeToString(sum[:])
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
		if err == nil || !strings.Contains(err.Error(), "the host lacks the file with SHA-256 "+digestA) || !strings.Contains(err.Error(), source) {
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

// A push that is cancelled leaves no half file on the host. Whether its claim is still in the
// ledger when the provider looks is a matter of time; either way the next run goes on, and a
// destroy leaves nothing.
func TestCancelledPush(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gguf")
	source, digest := modelSource(t, 1)
	in := modelInputs(t, path, source, digest)
	h := &interruptedHost{host: realHost(t)}
	s := newStack(t, h)
	h.interrupt = func() {
		if err := s.provider.SignalCancellation(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.up("Model", "a", in); err == nil || strings.Contains(err.Error(), "rpc error") {
		t.Fatalf("a cancelled push was not reported in words: %v", err)
	}
	wantNoPart(t, path)

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
}

// interruptedHost calls interrupt in the middle of a push.
type interruptedHost struct {
	*host
	interrupt func()
}

func (h *interruptedHost) Bulk(context.Context) (agentpb.AgentClient, io.Closer, error) {
	return agentpb.NewAgentClient(interruptedConn{inWords{h.conn}, h.interrupt}), io.NopCloser(nil), nil
}

type interruptedConn struct {
	grpc.ClientConnInterface
	interrupt func()
}

func (c interruptedConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	return &interruptedStream{ClientStream: s, interrupt: c.interrupt}, err
}

type interruptedStream struct {
	grpc.ClientStream
	interrupt func()
	sent      int
}

func (s *interruptedStream) SendMsg(m any) error {
	if s.sent++; s.sent == 3 { // a header and one chunk are on their way
		s.interrupt()
		<-s.Context().Done()
	}
	return s.ClientStream.SendMsg(m)
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
