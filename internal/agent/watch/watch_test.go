package watch

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/checkrecord"
)

const (
	pinned = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	other  = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// fakeModels is an agent that knows models by heart. The real one is under the commands' tests and
// the end-to-end tests.
type fakeModels struct {
	states map[string]*agentpb.ModelState
	now    map[string]string // digests that a full read finds
	read   []string          // paths that were read
	err    error
}

func (f *fakeModels) ObserveModel(_ context.Context, req *agentpb.ObserveModelRequest) (*agentpb.ModelState, error) {
	if f.err != nil {
		return nil, f.err
	}
	if s := f.states[req.GetPath()]; s != nil {
		return s, nil
	}
	return &agentpb.ModelState{}, nil
}

func (f *fakeModels) VerifyModel(req *agentpb.VerifyModelRequest, stream grpc.ServerStreamingServer[agentpb.ModelEvent]) error {
	f.read = append(f.read, req.GetPath())
	s := f.states[req.GetPath()]
	if s == nil {
		return stream.Send(&agentpb.ModelEvent{State: &agentpb.ModelState{}})
	}
	if err := stream.Send(&agentpb.ModelEvent{DoneBytes: 1, TotalBytes: 2}); err != nil {
		return err
	}
	s.VerifiedUnix, s.VerifyFailure = time.Now().Unix(), ""
	if sum, ok := f.now[req.GetPath()]; ok {
		s.Sha256 = sum
	}
	if s.GetSha256() != req.GetSha256() {
		s.VerifyFailure = "other bytes"
	}
	return stream.Send(&agentpb.ModelEvent{State: s})
}

// host is a watcher with a folder of records.
type host struct {
	Watcher
	models  *fakeModels
	out     *bytes.Buffer
	records string
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{
		models:  &fakeModels{states: map[string]*agentpb.ModelState{}, now: map[string]string{}},
		out:     new(bytes.Buffer),
		records: t.TempDir(),
	}
	h.Watcher = Watcher{Models: h.models, Metrics: filepath.Join(t.TempDir(), "metrics"), Out: h.out}
	return h
}

// model records a model that is on the host as it should be.
func (h *host) model(t *testing.T, name string) (record string, state *agentpb.ModelState) {
	t.Helper()
	path := "/srv/models/" + name + ".gguf"
	h.models.states[path] = &agentpb.ModelState{Exists: true, Size: 7, Sha256: pinned, FromCache: true}
	record = h.record(t, checkrecord.Record{Name: name, Path: path, SHA256: pinned})
	return record, h.models.states[path]
}

func (h *host) record(t *testing.T, r checkrecord.Record) string {
	t.Helper()
	text, err := r.Text()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(h.records, r.Name+".json")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func (h *host) metrics(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.Metrics, MetricsFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCheckOfAGoodModel(t *testing.T) {
	h := newHost(t)
	record, _ := h.model(t, "tiny")
	if err := h.Check(t.Context(), []string{record}); err != nil {
		t.Error(err)
	}
	if len(h.models.read) > 0 {
		t.Errorf("a start read %v again", h.models.read)
	}
	if said := h.out.String(); !strings.Contains(said, "model tiny: ") || !strings.Contains(said, "as pinned") {
		t.Errorf("it said %q", said)
	}
}

// Every refusal is one line that names the model, what is wrong and what to do.
func TestCheckRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(h *host, s *agentpb.ModelState)
		want   []string
	}{
		"other bytes":           {func(_ *host, s *agentpb.ModelState) { s.Sha256 = other }, []string{"has the SHA-256 " + other, "pinned as " + pinned, "up --refresh"}},
		"a failed verification": {func(_ *host, s *agentpb.ModelState) { s.VerifiedUnix, s.VerifyFailure = 1, "bad disk" }, []string{"verification at 1970-01-01T00:00:01Z", "bad disk", "up --refresh"}},
		"no model":              {func(_ *host, s *agentpb.ModelState) { s.Exists = false }, []string{"is not on the host", "up --refresh"}},
		"a folder":              {func(_ *host, s *agentpb.ModelState) { s.Folder = true }, []string{"is a folder, and a file is to be there", "up --refresh"}},
		"something odd":         {func(_ *host, s *agentpb.ModelState) { s.Sha256, s.Unusable = "", "it is a pipe" }, []string{"it is a pipe"}},
		"an error":              {func(h *host, _ *agentpb.ModelState) { h.models.err = errors.New("read: bad disk") }, []string{"can't be checked", "bad disk"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			record, state := h.model(t, "tiny")
			test.change(h, state)
			err := h.Check(t.Context(), []string{record})
			if !errors.Is(err, ErrRefused) {
				t.Fatalf("the error is %v", err)
			}
			for _, want := range append(test.want, "model tiny: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q doesn't say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has several lines", err)
			}
		})
	}
}

func TestCheckNamesEveryModelThatIsWrong(t *testing.T) {
	h := newHost(t)
	first, a := h.model(t, "first")
	good, _ := h.model(t, "good")
	last, b := h.model(t, "last")
	a.Sha256, b.Sha256 = other, other
	err := h.Check(t.Context(), []string{first, good, last})
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), "first") || !strings.Contains(err.Error(), "last") {
		t.Errorf("got %v", err)
	}
}

// Whoever can write a record decides what a server loads.
func TestRecordsThatOthersMayWriteAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, file string){
		"writable by all": func(t *testing.T, file string) {
			if err := os.Chmod(file, 0o666); err != nil {
				t.Fatal(err)
			}
		},
		"a link": func(t *testing.T, file string) {
			if err := os.Rename(file, file+".real"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(file+".real", file); err != nil {
				t.Fatal(err)
			}
		},
		"damaged": func(t *testing.T, file string) {
			if err := os.WriteFile(file, []byte("{"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"missing": func(t *testing.T, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			record, _ := h.model(t, "tiny")
			spoil(t, record)
			for what, err := range map[string]error{
				"check":  h.Check(t.Context(), []string{record}),
				"verify": h.Verify(t.Context(), []string{record}, 0),
			} {
				if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), record) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if !strings.Contains(h.metrics(t), "llmhost_models_broken_records 1\n") {
				t.Errorf("the metrics don't show it:\n%s", h.metrics(t))
			}
		})
	}
}

func TestVerifyReadsEveryModelAndSaysWhatIsWrong(t *testing.T) {
	h := newHost(t)
	h.model(t, "bad")
	h.model(t, "good")
	h.record(t, checkrecord.Record{Name: "gone", Path: "/srv/models/gone.gguf", SHA256: pinned})
	h.models.now["/srv/models/bad.gguf"] = other
	err := h.Verify(t.Context(), []string{h.records}, 0)
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "model bad: ") || !strings.Contains(err.Error(), "model gone: ") || strings.Contains(err.Error(), "good") {
		t.Errorf("the error is %v", err)
	}
	if len(h.models.read) != 3 {
		t.Errorf("read: %v", h.models.read)
	}
	for _, want := range []string{
		`llmhost_model_verified{model="bad"} 0` + "\n", `llmhost_model_verified{model="good"} 1` + "\n", `llmhost_model_verified{model="gone"} 0` + "\n",
		`llmhost_model_bytes{model="good"} 7` + "\n", `llmhost_model_last_verified_timestamp_seconds{model="good"} `,
		"# TYPE llmhost_model_verified gauge\n", "llmhost_models_broken_records 0\n",
	} {
		if !strings.Contains(h.metrics(t), want) {
			t.Errorf("the metrics lack %q:\n%s", want, h.metrics(t))
		}
	}
}

// What was found good lately is left out, so that a run which was cut off goes on.
func TestVerifyLeavesOutWhatWasFoundGoodLately(t *testing.T) {
	h := newHost(t)
	h.model(t, "tiny")
	if err := h.Verify(t.Context(), []string{h.records}, time.Hour); err != nil || len(h.models.read) != 1 {
		t.Fatalf("first run: %v, read %v", err, h.models.read)
	}
	h.out.Reset()
	if err := h.Verify(t.Context(), []string{h.records}, time.Hour); err != nil || len(h.models.read) != 1 {
		t.Errorf("second run: %v, read %v", err, h.models.read)
	}
	if !strings.Contains(h.out.String(), "model tiny: ") || !strings.Contains(h.metrics(t), `llmhost_model_verified{model="tiny"} 1`) {
		t.Errorf("it is left out silently: %q", h.out)
	}
	if err := h.Verify(t.Context(), []string{h.records}, 0); err != nil || len(h.models.read) != 2 {
		t.Errorf("without a limit: %v, read %v", err, h.models.read)
	}
	// A failure is looked at again each time, and a time in the future is no time.
	for name, spoil := range map[string]func(s *agentpb.ModelState){
		"failed":              func(s *agentpb.ModelState) { s.VerifyFailure = "bad disk" },
		"changed since":       func(s *agentpb.ModelState) { s.Sha256 = other },
		"after a clock reset": func(s *agentpb.ModelState) { s.VerifiedUnix = time.Now().Add(time.Hour).Unix() },
	} {
		h := newHost(t)
		_, state := h.model(t, "tiny")
		state.VerifiedUnix = time.Now().Unix()
		spoil(state)
		if err := h.Verify(t.Context(), []string{h.records}, time.Minute); len(h.models.read) != 1 {
			t.Errorf("%s: it was not read again (%v)", name, err)
		}
	}
}

func TestVerifyIsCutOff(t *testing.T) {
	h := newHost(t)
	h.model(t, "a")
	h.model(t, "b")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Verify(ctx, []string{h.records}, 0); !errors.Is(err, context.Canceled) || len(h.models.read) != 1 {
		t.Errorf("got %v, read %v", err, h.models.read)
	}
}

func TestASignatureThatIsDemandedIsChecked(t *testing.T) {
	h := newHost(t)
	_, state := h.model(t, "tiny")
	record := h.record(t, checkrecord.Record{Name: "tiny", Path: "/srv/models/tiny.gguf", SHA256: pinned,
		Signature: &checkrecord.Signature{PublicKey: "key", Bundle: "bundle"}})
	var answer error
	h.Signature = func(s checkrecord.Signature, of *agentpb.ModelState) error {
		if s.PublicKey != "key" || s.Bundle != "bundle" || of.GetSha256() != state.GetSha256() {
			t.Errorf("asked for %+v of %v", s, of)
		}
		return answer
	}
	if err := h.Check(t.Context(), []string{record}); err != nil {
		t.Error(err)
	}
	answer = errors.New("another key")
	for what, err := range map[string]error{"check": h.Check(t.Context(), []string{record}), "verify": h.Verify(t.Context(), []string{record}, 0)} {
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "another key") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestReadable(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "inner", "a.gguf")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Readable([]string{dir, file}); err != nil {
		t.Error(err)
	}
	if err := Readable([]string{file, dir + "/gone"}); err == nil || !strings.Contains(err.Error(), dir+"/gone") {
		t.Errorf("got %v", err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "inner", "dangling")); err != nil {
		t.Fatal(err)
	}
	if err := Readable([]string{dir}); err == nil || !strings.Contains(err.Error(), "dangling") {
		t.Errorf("a link that leads nowhere: %v", err)
	}
}
