package transfer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// host is a folder in which models arrive.
type host struct {
	t   testing.TB
	dir string

	rtt    time.Duration
	served sync.WaitGroup
	// link, if set, is put between the two ends of the next lane.
	link func(io.ReadWriteCloser) io.ReadWriteCloser
}

func newHost(t testing.TB) *host {
	h := &host{t: t, dir: t.TempDir()}
	t.Cleanup(h.served.Wait)
	return h
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }
func (h *host) RTT() time.Duration      { return h.rtt }

// Lane starts what an agent runs for a lane.
func (h *host) Lane(context.Context) (io.ReadWriteCloser, error) {
	ours, theirs := net.Pipe()
	h.served.Go(func() { h.serve(theirs) })
	if h.link != nil {
		return h.link(ours), nil
	}
	return ours, nil
}

func (h *host) ExtraLane(ctx context.Context) (io.ReadWriteCloser, error) { return h.Lane(ctx) }

func (h *host) serve(rwc io.ReadWriteCloser) {
	in, err := transfer.Accept(context.Background(), rwc, time.Minute)
	if err != nil {
		return
	}
	defer in.Close()
	if in.Open.GetJoin() != "" {
		if err := in.Join(); err != nil {
			_ = in.Fail(err)
		}
		return
	}
	d, err := durable.Open(h.dir)
	if err != nil {
		h.t.Error(err)
		return
	}
	defer d.Close()
	name := filepath.Base(in.Open.GetHeader().GetPath())
	received, err := in.Receive(d, name)
	if err == nil {
		a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o640}
		err = received.Publish(name, a)
	}
	if err != nil {
		_ = in.Fail(fault.OfPath("write", h.path(name), err))
		return
	}
	_ = in.Done(&agentpb.ChangeResponse{Changed: true, Generation: 7}, received)
}

// fakeSource is a model in memory.
type fakeSource struct {
	names   []string
	content [][]byte
	known   bool // the files' digests
	// fail, if set, is asked before each read, with what was read so far of the file.
	fail func(file int, at uint64) error
	read *atomic.Int64
}

func single(content []byte) *fakeSource {
	return &fakeSource{names: []string{""}, content: [][]byte{content}}
}

func folder(files map[string][]byte) *fakeSource {
	s := &fakeSource{}
	for name := range files {
		s.names = append(s.names, name)
	}
	slices.Sort(s.names)
	for _, name := range s.names {
		s.content = append(s.content, files[name])
	}
	return s
}

func (s *fakeSource) Files() []transfer.File {
	var out []transfer.File
	for i, name := range s.names {
		f := transfer.File{Name: name, Size: uint64(len(s.content[i]))}
		if s.known {
			f.SHA256 = sum(s.content[i])
		}
		out = append(out, f)
	}
	return out
}

func (s *fakeSource) ID() string   { return "fake:" + s.digest() }
func (s *fakeSource) Close() error { return nil }

func (s *fakeSource) Open(_ context.Context, file int, offset uint64) (io.ReadCloser, error) {
	return &fakeReader{s, file, offset}, nil
}

type fakeReader struct {
	source *fakeSource
	file   int
	at     uint64
}

func (r *fakeReader) Close() error { return nil }
func (r *fakeReader) Read(b []byte) (int, error) {
	if r.source.fail != nil {
		if err := r.source.fail(r.file, r.at); err != nil {
			return 0, err
		}
	}
	n := copy(b[:min(len(b), 100_000)], r.source.content[r.file][r.at:])
	r.at += uint64(n)
	if r.source.read != nil {
		r.source.read.Add(int64(n))
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// digest is what a host file would pin.
func (s *fakeSource) digest() string {
	if s.names[0] == "" {
		return sum(s.content[0])
	}
	var entries []modelfile.Entry
	for i, name := range s.names {
		entries = append(entries, modelfile.Entry{Name: name, SHA256: sum(s.content[i])})
	}
	return modelfile.Digest(entries)
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func random(seed uint64, size int) []byte {
	b := make([]byte, size)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	rand.NewChaCha8(key).Read(b)
	return b
}

// header is that of a model with a pinned digest.
func header(name string, s *fakeSource) *agentpb.ModelHeader {
	return &agentpb.ModelHeader{Path: "/" + name, Sha256: s.digest(), Folder: s.names[0] != "", Mode: 0o640}
}

func (h *host) push(name string, s *fakeSource) (transfer.Result, error) {
	h.t.Helper()
	return transfer.Push(h.t.Context(), h, header(name, s), s, transfer.Options{Holder: "somebody"})
}

func (h *host) mustPush(name string, s *fakeSource) transfer.Result {
	h.t.Helper()
	done, err := h.push(name, s)
	if err != nil {
		h.t.Fatal(err)
	}
	h.wantModel(name, s)
	return done
}

// wantModel demands that the host has the model and nothing else.
func (h *host) wantModel(name string, s *fakeSource) {
	h.t.Helper()
	for i, file := range s.names {
		got, err := os.ReadFile(filepath.Join(h.path(name), file))
		if err != nil {
			h.t.Fatal(err)
		}
		if !bytes.Equal(got, s.content[i]) {
			h.t.Fatalf("%s/%s is not what was sent", name, file)
		}
	}
	left, err := os.ReadDir(h.dir)
	if err != nil || len(left) != 1 || left[0].Name() != name {
		h.t.Fatalf("the host holds %v (%v)", left, err)
	}
}

const piece = 1 << 20

func TestModelsOfAllSizesArrive(t *testing.T) {
	for _, size := range []int{0, 1, piece - 1, piece, piece + 1, 3*piece + 12345} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			h := newHost(t)
			s := single(random(1, size))
			done := h.mustPush("m.gguf", s)
			if done.SHA256 != s.digest() || done.Sent != uint64(size) || done.Found != 0 || done.Generation != 7 || !done.Changed {
				t.Errorf("result %+v", done)
			}
			info, err := os.Stat(h.path("m.gguf"))
			if err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("mode %v (%v)", info.Mode(), err)
			}
		})
	}
}

func TestFolderArrivesAsAWhole(t *testing.T) {
	files := map[string][]byte{"config.json": []byte("{}"), "empty": nil, "a/b/c/deep": random(2, 100), "model.safetensors": random(3, 2*piece+5)}
	for i := range 300 {
		files[fmt.Sprintf("shards/%03d", i)] = random(uint64(i), i*7)
	}
	h := newHost(t)
	s := folder(files)
	done := h.mustPush("m", s)
	if done.SHA256 != s.digest() || len(done.Files) != len(files) || done.Files[0].SHA256 != sum(files["a/b/c/deep"]) {
		t.Errorf("result %+v", done)
	}
	for path, want := range map[string]os.FileMode{"": 0o750, "a/b": 0o750, "config.json": 0o640} {
		if info, err := os.Stat(filepath.Join(h.path("m"), path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has the mode %v (%v)", path, info.Mode(), err)
		}
	}
	// A new version takes its place as a whole: nothing of the old one is left in it.
	delete(files, "config.json")
	files["new"] = []byte("x")
	h.mustPush("m", folder(files))
	if _, err := os.Stat(h.path("m/config.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file of the old version is in the new one: %v", err)
	}
}

func TestUnpinnedModelIsComparedWithWhatWasRead(t *testing.T) {
	for name, s := range map[string]*fakeSource{
		"m.gguf": single(random(1, 3*piece+7)), "m": folder(map[string][]byte{"a": random(2, 10), "b": random(3, piece+1), "c": nil}),
	} {
		h := newHost(t)
		head := header(name, s)
		head.Sha256 = ""
		done, err := transfer.Push(t.Context(), h, head, s, transfer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		h.wantModel(name, s)
		if done.SHA256 != s.digest() {
			t.Errorf("the digest of %s is %s", name, done.SHA256)
		}
	}
}

func TestPinnedModelIsReadOnce(t *testing.T) {
	h := newHost(t)
	s := single(random(1, 5*piece))
	s.read = &atomic.Int64{}
	h.mustPush("m.gguf", s)
	if got := s.read.Load(); got != 5*piece {
		t.Errorf("%d bytes were read of %d", got, 5*piece)
	}
}

func TestWrongBytesAreNeverThere(t *testing.T) {
	h := newHost(t)
	s := single(random(1, 2*piece))
	head := header("m.gguf", s)
	s.content[0] = random(2, 2*piece)
	_, err := transfer.Push(t.Context(), h, head, s, transfer.Options{})
	wantReason(t, err, agentpb.Reason_DIGEST_MISMATCH)
	if left, _ := os.ReadDir(h.dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// cutLink breaks after so many bytes in one direction.
type cutLink struct {
	io.ReadWriteCloser
	writes, reads *atomic.Int64 // bytes that may still pass
}

var errWire = errors.New("the wire was cut")

func (l cutLink) Write(b []byte) (int, error) {
	if left := l.writes.Add(-int64(len(b))); left < 0 {
		n, _ := l.ReadWriteCloser.Write(b[:max(0, int64(len(b))+left)])
		l.Close()
		return n, errWire
	}
	return l.ReadWriteCloser.Write(b)
}

func (l cutLink) Read(b []byte) (int, error) {
	n, err := l.ReadWriteCloser.Read(b)
	if l.reads.Add(-int64(n)) < 0 {
		l.Close()
		return 0, errWire
	}
	return n, err
}

// A push that is cut at any byte leaves nothing with the model's name, and what was sent isn't
// sent again.
func TestCutsAtRandomBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	models := []*fakeSource{
		single(random(1, 3*piece+12345)),
		folder(map[string][]byte{"a": random(2, 2*piece+1), "b/c": random(3, 700), "b/d": nil, "e": random(4, piece)}),
	}
	for _, s := range models {
		var total int
		for _, c := range s.content {
			total += len(c)
		}
		name := "m"
		if s.names[0] == "" {
			name = "m.gguf"
		}
		for range 100 {
			h := newHost(t)
			var sent uint64
			cuts := 0
			for {
				var writes, reads atomic.Int64
				writes.Store(rnd.Int64N(int64(total) + 3000))
				reads.Store(1 << 40)
				if rnd.IntN(8) == 0 {
					reads.Store(rnd.Int64N(200))
				}
				h.link = func(c io.ReadWriteCloser) io.ReadWriteCloser { return cutLink{c, &writes, &reads} }
				done, err := h.push(name, s)
				h.served.Wait()
				if err == nil {
					sent += done.Sent
					if done.Found+done.Sent != uint64(total) {
						t.Fatalf("%d bytes were found and %d sent of %d", done.Found, done.Sent, total)
					}
					break
				}
				if !errors.Is(err, errWire) && !errors.Is(err, transfer.ErrCut) && !errors.Is(err, io.ErrClosedPipe) {
					t.Fatalf("cut after %d bytes: %v", cuts, err)
				}
				cuts++
				if _, err := os.Stat(h.path(name)); err == nil {
					break // the answer alone was lost
				}
			}
			h.wantModel(name, s)
		}
	}
}

// What a kill or a power cut has damaged is found and sent again.
func TestDamagedPartialIsHealed(t *testing.T) {
	s := single(random(1, 20*piece))
	for name, damage := range map[string]func(t *testing.T, part string) (resent uint64){
		"a flipped byte": func(t *testing.T, part string) uint64 {
			flip(t, filepath.Join(part, "file"), 5*piece+77)
			return piece
		},
		"a flipped byte in each of three pieces": func(t *testing.T, part string) uint64 {
			for _, at := range []int64{0, piece, 9*piece + 1} {
				flip(t, filepath.Join(part, "file"), at)
			}
			return 3 * piece
		},
		"a torn journal": func(t *testing.T, part string) uint64 {
			info, err := os.Stat(filepath.Join(part, "journal"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(filepath.Join(part, "journal"), info.Size()-5); err != nil {
				t.Fatal(err)
			}
			return piece
		},
		"a file that was cut": func(t *testing.T, part string) uint64 {
			if err := os.Truncate(filepath.Join(part, "file"), 3*piece); err != nil {
				t.Fatal(err)
			}
			return 20 * piece
		},
		"no journal": func(t *testing.T, part string) uint64 {
			if err := os.Remove(filepath.Join(part, "journal")); err != nil {
				t.Fatal(err)
			}
			return 20 * piece
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			arrived := h.cutAfter("m.gguf", s, 15*piece)
			resent := damage(t, h.path(".m.gguf.llmhost-part"))
			done := h.mustPush("m.gguf", s)
			if want := min(20*piece, 20*piece-arrived+resent); done.Sent != want {
				t.Errorf("%d bytes were sent, want %d", done.Sent, want)
			}
		})
	}
}

// cutAfter has a push cut after so many bytes, and returns how many the host has.
func (h *host) cutAfter(name string, s *fakeSource, bytes int64) uint64 {
	h.t.Helper()
	var writes, reads atomic.Int64
	writes.Store(bytes)
	reads.Store(1 << 40)
	h.link = func(c io.ReadWriteCloser) io.ReadWriteCloser { return cutLink{c, &writes, &reads} }
	if _, err := h.push(name, s); err == nil {
		h.t.Fatal("the push was not cut")
	}
	h.served.Wait()
	h.link = nil
	journal, err := os.ReadFile(filepath.Join(h.path("."+name+".llmhost-part"), "journal"))
	if err != nil {
		h.t.Fatal(err)
	}
	_, records, _ := strings.Cut(string(journal), "\n")
	return uint64(len(records)/28) * piece
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// A host that is far away is sent to over several lanes at once.
func TestFarHost(t *testing.T) {
	s := single(random(1, 24*piece+5))
	for _, pinned := range []bool{true, false} {
		h := newHost(t)
		h.rtt = 50 * time.Millisecond
		var mu sync.Mutex
		var lanes []*countingLink
		all := make(chan struct{})
		h.link = func(c io.ReadWriteCloser) io.ReadWriteCloser {
			mu.Lock()
			defer mu.Unlock()
			lanes = append(lanes, &countingLink{ReadWriteCloser: c, enough: 3 * piece, others: all})
			if len(lanes) == 8 {
				close(all)
			}
			return lanes[len(lanes)-1]
		}
		head := header("m.gguf", s)
		if !pinned {
			head.Sha256 = ""
		}
		if _, err := transfer.Push(t.Context(), h, head, s, transfer.Options{}); err != nil {
			t.Fatal(err)
		}
		h.wantModel("m.gguf", s)
		for i, l := range lanes {
			if got := l.written.Load(); got < piece/4 {
				t.Errorf("lane %d of %d has carried %d bytes", i, len(lanes), got)
			}
		}
	}
}

// countingLink counts what is written. A lane that has carried its share waits until all lanes are
// there.
type countingLink struct {
	io.ReadWriteCloser
	written atomic.Int64
	enough  int64
	others  chan struct{}
}

func (l *countingLink) Write(b []byte) (int, error) {
	if l.written.Add(int64(len(b))) > l.enough {
		<-l.others
	}
	return l.ReadWriteCloser.Write(b)
}

func TestCutsOfOneLaneOfMany(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	s := single(random(1, 12*piece+5))
	for range 20 {
		h := newHost(t)
		h.rtt = 50 * time.Millisecond
		for {
			var lane atomic.Int64
			cut := rnd.Int64N(9)
			h.link = func(c io.ReadWriteCloser) io.ReadWriteCloser {
				var writes, reads atomic.Int64
				writes.Store(1 << 40)
				reads.Store(1 << 40)
				if lane.Add(1) == cut {
					writes.Store(rnd.Int64N(4 * piece))
				}
				return cutLink{c, &writes, &reads}
			}
			_, err := h.push("m.gguf", s)
			h.served.Wait()
			if err == nil {
				break
			}
			if !errors.Is(err, transfer.ErrCut) && !errors.Is(err, errWire) {
				t.Fatal(err)
			}
		}
		h.wantModel("m.gguf", s)
	}
}

func TestLaneJoinsOnlyAPush(t *testing.T) {
	h := newHost(t)
	for _, name := range []string{"../../run/dbus/system_bus_socket", "llmhost-lane-", "llmhost-lane-AAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		said := h.converse(append([]byte(transfer.Preface), frame('O', mustMarshal(&agentpb.LaneOpen{Join: name}))...))
		if !strings.HasPrefix(said, "X") {
			t.Errorf("%s: %q", name, said)
		}
	}
}

func TestPartOfOtherBytesIsNotUsed(t *testing.T) {
	h := newHost(t)
	h.cutAfter("m.gguf", single(random(1, 5*piece)), 4*piece)
	done := h.mustPush("m.gguf", single(random(2, 5*piece)))
	if done.Found != 0 {
		t.Errorf("%d bytes of another model were used", done.Found)
	}
}

func TestSourceThatFailsOrChanges(t *testing.T) {
	broken := errors.New("input/output error")
	for name, fail := range map[string]error{"read error": broken, "changed": transfer.ErrChanged} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			s := single(random(1, 6*piece))
			s.fail = func(_ int, at uint64) error {
				if at > 3*piece {
					return fail
				}
				return nil
			}
			if _, err := h.push("m.gguf", s); !errors.Is(err, fail) {
				t.Errorf("got %v", err)
			}
			h.served.Wait()
			if _, err := os.Stat(h.path("m.gguf")); err == nil {
				t.Error("half a model has its name")
			}
			s.fail = nil
			if done := h.mustPush("m.gguf", s); done.Found == 0 {
				t.Error("what had arrived was sent again")
			}
		})
	}
	h := newHost(t)
	short := single(random(1, 6*piece))
	head := header("m.gguf", short)
	if _, err := transfer.Push(t.Context(), h, head, shrunk{short}, transfer.Options{}); !errors.Is(err, transfer.ErrChanged) {
		t.Errorf("a source that ends early: %v", err)
	}
}

// shrunk is a source that has become shorter since it was listed.
type shrunk struct{ *fakeSource }

func (s shrunk) Files() []transfer.File {
	files := s.fakeSource.Files()
	files[0].Size++
	return files
}

func TestTwoPushesOfOneModel(t *testing.T) {
	h := newHost(t)
	s := single(random(1, 8*piece))
	held := make(chan struct{})
	reached := make(chan struct{})
	var once sync.Once
	slow := single(s.content[0])
	slow.fail = func(_ int, at uint64) error {
		if at > 2*piece {
			once.Do(func() { close(reached) })
			<-held
		}
		return nil
	}
	first := make(chan error, 1)
	go func() {
		_, err := h.push("m.gguf", slow)
		first <- err
	}()
	<-reached
	_, err := transfer.Push(t.Context(), h, header("m.gguf", s), s, transfer.Options{Holder: "another"})
	if got := wantReason(t, err, agentpb.Reason_IN_USE); !strings.Contains(got, "somebody") {
		t.Errorf("the error doesn't name the one who pushes: %s", got)
	}
	close(held)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	h.wantModel("m.gguf", s)
}

func TestSomebodyElsesFolderIsNotUsed(t *testing.T) {
	elsewhere := t.TempDir()
	for name, put := range map[string]func(path string) error{
		"a link":           func(path string) error { return os.Symlink(elsewhere, path) },
		"a folder for all": func(path string) error { return errors.Join(os.Mkdir(path, 0), os.Chmod(path, 0o777)) },
		"a pipe":           func(path string) error { return unix.Mkfifo(path, 0o600) },
		"another's (if root)": func(path string) error {
			if os.Geteuid() != 0 {
				return os.Symlink(elsewhere, path)
			}
			return errors.Join(os.Mkdir(path, 0o700), os.Chown(path, 12345, 12345))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			if err := put(h.path(".m.gguf.llmhost-part")); err != nil {
				t.Fatal(err)
			}
			if _, err := h.push("m.gguf", single([]byte("x"))); err == nil {
				t.Error("it was used")
			}
			if left, _ := os.ReadDir(elsewhere); len(left) != 0 {
				t.Errorf("written elsewhere: %v", left)
			}
		})
	}
}

// sparse is a source with holes, as lseek would tell them.
type sparse struct {
	*fakeSource
	data [][2]uint64
}

func (s sparse) Data(_ int, offset uint64) (start, end uint64, ok bool) {
	for _, d := range s.data {
		if offset < d[1] {
			return max(offset, d[0]), d[1], true
		}
	}
	return 0, 0, false
}

func TestSparseFileStaysSparse(t *testing.T) {
	content := make([]byte, 40*piece)
	copy(content[10*piece:], random(1, piece))
	copy(content[30*piece:], random(2, piece+1000))
	for _, pinned := range []bool{true, false} {
		h := newHost(t)
		s := sparse{single(content), [][2]uint64{{10 * piece, 11 * piece}, {30 * piece, 31*piece + 4096}}}
		head := header("m.gguf", s.fakeSource)
		if !pinned {
			head.Sha256 = ""
		}
		done, err := transfer.Push(t.Context(), h, head, s, transfer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		h.wantModel("m.gguf", s.fakeSource)
		if done.Sent != 2*piece+4096 {
			t.Errorf("%d bytes were sent", done.Sent)
		}
		var st unix.Stat_t
		if err := unix.Stat(h.path("m.gguf"), &st); err != nil || st.Blocks*512 > 4*piece {
			t.Errorf("it takes %d bytes of the disk (%v)", st.Blocks*512, err)
		}
	}
}

// A hole that was sent before a cut isn't sent again, and one that is no hole any more is.
func TestSparsePushGoesOn(t *testing.T) {
	content := make([]byte, 40*piece)
	copy(content[10*piece:], random(1, 5*piece))
	for _, damaged := range []bool{false, true} {
		h := newHost(t)
		s := sparse{single(content), [][2]uint64{{10 * piece, 15 * piece}}}
		s.fail = func(_ int, at uint64) error {
			if at > 13*piece {
				return errWire
			}
			return nil
		}
		if _, err := transfer.Push(t.Context(), h, header("m.gguf", s.fakeSource), s, transfer.Options{}); !errors.Is(err, errWire) {
			t.Fatal(err)
		}
		h.served.Wait()
		s.fail = nil
		want := uint64(12 * piece)
		if damaged {
			flip(t, h.path(".m.gguf.llmhost-part/file"), 3*piece)
			want -= piece
		}
		done, err := transfer.Push(t.Context(), h, header("m.gguf", s.fakeSource), s, transfer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		h.wantModel("m.gguf", s.fakeSource)
		if done.Found < want || done.Sent > 3*piece {
			t.Errorf("damaged %t: %d bytes were found and %d sent", damaged, done.Found, done.Sent)
		}
	}
}

func TestCancelledPushEndsAtOnce(t *testing.T) {
	h := newHost(t)
	s := single(random(1, 50*piece))
	blocked := make(chan struct{})
	h.link = func(c io.ReadWriteCloser) io.ReadWriteCloser {
		return &stuckLink{ReadWriteCloser: c, left: 10 * piece, blocked: blocked}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	go func() {
		<-blocked
		cancel(why)
	}()
	if _, err := transfer.Push(ctx, h, header("m.gguf", s), s, transfer.Options{}); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// stuckLink takes no more bytes at some time, and its writes end with nothing, not even Close.
type stuckLink struct {
	io.ReadWriteCloser
	left    int
	blocked chan struct{}
}

func (l *stuckLink) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		close(l.blocked)
		select {}
	}
	return l.ReadWriteCloser.Write(b)
}

func TestProgressIsTold(t *testing.T) {
	h := newHost(t)
	s := single(random(1, 3*piece))
	waited := make(chan struct{})
	var once sync.Once
	s.fail = func(_ int, at uint64) error {
		if at > 2*piece+piece/2 {
			<-waited
		}
		return nil
	}
	_, err := transfer.Push(t.Context(), h, header("m.gguf", s), s, transfer.Options{Progress: func(p transfer.Progress) {
		if p.Done == 2*piece && p.Total == 3*piece && p.Phase == "send" {
			once.Do(func() { close(waited) })
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// wantReason demands an error of the agent, and returns its words.
func wantReason(t *testing.T, err error, want agentpb.Reason) string {
	t.Helper()
	if got := transfer.ReasonOf(err); got != want {
		t.Fatalf("reason %v, want %v: %v", got, want, err)
	}
	return err.Error()
}
