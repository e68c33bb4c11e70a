package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/modelfile"
)

// memory is a source of files in memory, or of one without a name.
type memory struct {
	files   []File
	content [][]byte
	opened  []uint64 // offsets at which something was opened
}

func inMemory(files map[string][]byte) *memory {
	m := &memory{}
	for name, content := range files {
		m.files = append(m.files, File{Name: name, Size: uint64(len(content))})
	}
	slices.SortFunc(m.files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	for _, f := range m.files {
		m.content = append(m.content, files[f.Name])
	}
	return m
}

func (m *memory) Files() []File { return m.files }
func (m *memory) ID() string    { return m.digest() }
func (m *memory) Close() error  { return nil }

func (m *memory) Open(_ context.Context, file int, offset uint64) (io.ReadCloser, error) {
	m.opened = append(m.opened, offset)
	return io.NopCloser(bytes.NewReader(m.content[file][offset:])), nil
}

func (m *memory) digest() string {
	var entries []modelfile.Entry
	for i, f := range m.files {
		sum := sha256.Sum256(m.content[i])
		entries = append(entries, modelfile.Entry{Name: f.Name, SHA256: hex.EncodeToString(sum[:])})
	}
	if m.files[0].Name == "" {
		return entries[0].SHA256
	}
	return modelfile.Digest(entries)
}

// folderLanes is a host that is a folder of this machine: the receiver runs in this process.
type folderLanes struct {
	t      *testing.T
	folder string
	opened int
}

func (h *folderLanes) RTT() time.Duration { return 0 }

func (h *folderLanes) ExtraLane(ctx context.Context) (io.ReadWriteCloser, error) { return h.Lane(ctx) }

func (h *folderLanes) Lane(context.Context) (io.ReadWriteCloser, error) {
	h.opened++
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		in, err := Accept(context.Background(), far, time.Minute)
		if err != nil {
			return
		}
		defer in.Close()
		if err := h.receive(in); err != nil {
			_ = in.Fail(err)
		}
	}()
	return near, nil
}

func (h *folderLanes) receive(in *Incoming) error {
	d, name, err := durable.Parent(filepath.Join(h.folder, in.Open.GetHeader().GetPath()))
	if err != nil {
		return err
	}
	defer d.Close()
	received, err := in.Receive(d, name)
	if err != nil {
		return err
	}
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600}
	if err := received.Publish(name, a); err != nil {
		return err
	}
	return in.Done(&agentpb.ChangeResponse{Changed: true}, received)
}

// write puts a model's files on the host, below a name.
func (h *folderLanes) write(name string, m *memory) {
	h.t.Helper()
	for i, f := range m.files {
		path := filepath.Join(h.folder, name, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(path, m.content[i], 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *folderLanes) holds(name string, m *memory) {
	h.t.Helper()
	for i, f := range m.files {
		got, err := os.ReadFile(filepath.Join(h.folder, name, filepath.FromSlash(f.Name)))
		if err != nil || !bytes.Equal(got, m.content[i]) {
			h.t.Errorf("%s/%s isn't what was pushed (%v)", name, f.Name, err)
		}
	}
	left, _ := filepath.Glob(filepath.Join(h.folder, ".*")) // the pattern is valid
	if len(left) > 0 {
		h.t.Errorf("%v is left", left)
	}
}

func (h *folderLanes) push(name string, m *memory, pinned bool, o Options) (Result, error) {
	header := &agentpb.ModelHeader{Path: name, Folder: m.files[0].Name != ""}
	if pinned {
		header.Sha256 = m.digest()
	}
	return Push(context.Background(), h, header, m, o)
}

func newFolderLanes(t *testing.T) *folderLanes { return &folderLanes{t: t, folder: t.TempDir()} }

func noise(seed byte, size int) []byte {
	p := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

func single(content []byte) *memory { return inMemory(map[string][]byte{"": content}) }

func TestAChangedModelSendsWhatChanged(t *testing.T) {
	const size = 32 << 20
	old := noise(1, size)
	for name, changed := range map[string][]byte{
		"the header has grown": slices.Concat(noise(2, 4096), old),
		"one percent differs":  slices.Concat(old[:size/3], noise(3, size/100), old[size/3+size/100:]),
		"the same bytes":       old,
		"the end is gone":      old[:size-5000],
	} {
		for _, at := range []string{"model.gguf", "older.gguf"} { // replaced, or beside it
			for _, pinned := range []bool{true, false} {
				h := newFolderLanes(t)
				h.write(at, single(old))
				m := single(changed)
				result, err := h.push("model.gguf", m, pinned, Options{})
				if err != nil {
					t.Fatalf("%s, from %s: %v", name, at, err)
				}
				h.holds("model.gguf", m)
				if result.Sent*100 > 3*size || result.Sent+result.Found != uint64(len(changed)) {
					t.Errorf("%s, from %s: %d bytes were sent and %d found", name, at, result.Sent, result.Found)
				}
				if result.SHA256 != m.digest() {
					t.Errorf("%s: the digest is said to be %s", name, result.SHA256)
				}
			}
		}
	}
}

func TestAChangedFolderSendsWhatChanged(t *testing.T) {
	a, b := noise(1, 9<<20), noise(2, 7<<20)
	old := inMemory(map[string][]byte{"a-00001-of-00002.gguf": a, "sub/a-00002-of-00002.gguf": b, "config.json": []byte("{}"), "empty": nil})
	m := inMemory(map[string][]byte{"all.gguf": slices.Concat([]byte("a new header"), b, a[1<<20:]), "config.json": []byte("{ }"), "empty": nil})
	h := newFolderLanes(t)
	h.write("old", old)
	result, err := h.push("model", m, true, Options{})
	if err != nil {
		t.Fatal(err)
	}
	h.holds("model", m)
	if result.Sent > 1<<20 {
		t.Errorf("%d bytes were sent", result.Sent)
	}
}

func TestAnotherModelIsNotComparedForLong(t *testing.T) {
	h := newFolderLanes(t)
	h.write("model.gguf", single(noise(1, 4<<20)))
	h.write("much-larger.gguf", single(noise(2, 6<<20)))
	m := single(noise(2, 4<<20))
	result, err := h.push("model.gguf", m, true, Options{})
	if err != nil || result.Sent != 4<<20 {
		t.Errorf("%d bytes were sent, %v", result.Sent, err)
	}
	h.holds("model.gguf", m)
	if len(m.opened) > 2 || slices.Max(m.opened) > 0 {
		t.Errorf("the source was read from %v", m.opened)
	}
}

func TestWholeSendsTheWhole(t *testing.T) {
	h := newFolderLanes(t)
	m := single(noise(1, 4<<20))
	h.write("model.gguf", m)
	result, err := h.push("model.gguf", m, true, Options{Whole: true})
	if err != nil || result.Sent != 4<<20 || len(m.opened) != 1 {
		t.Errorf("%d bytes were sent, the source was opened at %v, %v", result.Sent, m.opened, err)
	}
}

// What is copied may be changed under the push. The host notices, and all is sent.
func TestABaseThatChangesIsNotTrusted(t *testing.T) {
	old := noise(1, 8<<20)
	h := newFolderLanes(t)
	h.write("model.gguf", single(old))
	m := &meddler{memory: single(slices.Concat([]byte("GGUF"), old)), meddle: func() {
		f, err := os.OpenFile(filepath.Join(h.folder, "model.gguf"), os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte("somebody was here"), 5<<20); err != nil {
			t.Error(err)
		}
	}}
	header := &agentpb.ModelHeader{Path: "model.gguf", Sha256: m.digest()}
	result, err := Push(context.Background(), h, header, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	h.holds("model.gguf", m.memory)
	if h.opened != 2 || result.Sent != 8<<20+4 {
		t.Errorf("%d lanes were opened, and at last %d bytes sent", h.opened, result.Sent)
	}
}

// meddler changes something when it is opened for the second time: after it was compared.
type meddler struct {
	*memory
	meddle func()
}

func (m *meddler) Open(ctx context.Context, file int, offset uint64) (io.ReadCloser, error) {
	if len(m.opened) == 1 {
		m.meddle()
	}
	return m.memory.Open(ctx, file, offset)
}

func TestAnInterruptedDeltaGoesOn(t *testing.T) {
	old := noise(1, 24<<20)
	m := single(slices.Concat(old[:8<<20], noise(2, 4<<20), old[8<<20:]))
	h := newFolderLanes(t)
	h.write("model.gguf", single(old))
	broken := &breaking{memory: m, at: 10 << 20}
	if _, err := Push(context.Background(), h, &agentpb.ModelHeader{Path: "model.gguf", Sha256: m.digest()}, broken, Options{}); !errors.Is(err, errBroken) {
		t.Fatalf("got %v", err)
	}
	result, err := h.push("model.gguf", m, true, Options{})
	if err != nil {
		t.Fatal(err)
	}
	h.holds("model.gguf", m)
	if result.Sent > 3<<20 {
		t.Errorf("%d bytes were sent again", result.Sent)
	}
}

// breaking fails to read a range when it is read for the second time: after it was compared.
type breaking struct {
	*memory
	at uint64
}

var errBroken = errors.New("the disk is broken there")

func (b *breaking) Open(ctx context.Context, file int, offset uint64) (io.ReadCloser, error) {
	r, err := b.memory.Open(ctx, file, offset)
	if len(b.opened) < 2 || err != nil {
		return r, err
	}
	return io.NopCloser(io.MultiReader(io.LimitReader(r, int64(b.at-offset)), &failing{})), nil
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, errBroken }
