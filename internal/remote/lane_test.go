package remote_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/transfer"
)

// farHost is a connection that says that the way is long.
type farHost struct {
	*remote.Conn
	extra atomic.Int64 // further lanes that were opened
}

func (h *farHost) RTT() time.Duration { return 50 * time.Millisecond }

func (h *farHost) ExtraLane(ctx context.Context) (io.ReadWriteCloser, error) {
	lane, err := h.Conn.ExtraLane(ctx)
	if err == nil {
		h.extra.Add(1)
	}
	return lane, err
}

// fakeSource is a file in memory. Once so many bytes were read, wait is called.
type fakeSource struct {
	content []byte
	after   uint64
	wait    func()
}

func (s fakeSource) Files() []transfer.File { return []transfer.File{{Size: uint64(len(s.content))}} }
func (s fakeSource) ID() string             { return "fake" }
func (s fakeSource) Close() error           { return nil }
func (s fakeSource) Open(_ context.Context, _ int, offset uint64) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(bytes.NewReader(s.content[offset:max(offset, s.after)]), waiting(s.wait), bytes.NewReader(s.content[max(offset, s.after):]))), nil
}

// waiting is a reader without bytes.
type waiting func()

func (w waiting) Read([]byte) (int, error) {
	if w != nil {
		w()
	}
	return 0, io.EOF
}

func modelHeader(path string, content []byte) *agentpb.ModelHeader {
	sum := sha256.Sum256(content)
	me, group := strconv.Itoa(os.Geteuid()), strconv.Itoa(os.Getegid())
	return &agentpb.ModelHeader{Path: path, Sha256: hex.EncodeToString(sum[:]), Mode: 0o640, Owner: me, Group: group}
}

func TestLanesOnConnectionsOfTheirOwn(t *testing.T) {
	s := startSSHD(t)
	h := &farHost{Conn: mustDial(t, s.target(t), options())}
	content := bytes.Repeat([]byte("0123456789abcdef"), 2<<20)
	path := filepath.Join(t.TempDir(), "m.gguf")
	// The source waits until all lanes are there.
	src := fakeSource{content: content, after: 4 << 20, wait: func() {
		for deadline := time.Now().Add(time.Minute); h.extra.Load() < 7 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		}
	}}
	if _, err := transfer.Push(t.Context(), h, modelHeader(path, content), src, transfer.Options{}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("what has arrived isn't what was sent (%v)", err)
	}
	if logins := strings.Count(readFile(t, s.Log), "Accepted publickey"); logins != 8 {
		t.Errorf("%d logins, want one for each of eight lanes", logins)
	}
}

// An agent that is killed loses at most what was on its way.
func TestPushGoesOnAfterAKill(t *testing.T) {
	s := startSSHD(t)
	target := s.target(t)
	conn := mustDial(t, target, options())
	const size = 96 << 20
	content := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	path := filepath.Join(t.TempDir(), "m.gguf")
	var killed sync.Once
	_, err := transfer.Push(t.Context(), conn, modelHeader(path, content), fakeSource{content: content, after: 64 << 20, wait: func() {
		killed.Do(func() { endProcesses(t, target.StateDir) })
	}}, transfer.Options{})
	if !errors.Is(err, remote.ErrUnreachable) {
		t.Fatalf("after the kill: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("half a model has its name")
	}
	done, err := transfer.Push(t.Context(), mustDial(t, target, options()), modelHeader(path, content), fakeSource{content: content}, transfer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if again := done.Sent - (size - 64<<20); done.Sent > size || int64(again) > 32<<20 {
		t.Errorf("%d bytes were sent again", again)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("what has arrived isn't what was sent (%v)", err)
	}
}
