package watch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/checkrecord"
	"github.com/llmhost/llmhost/internal/signing"
)

// host is a watcher with models and their records.
type host struct {
	Watcher
	out     *bytes.Buffer
	models  string
	records string
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{out: new(bytes.Buffer), models: t.TempDir(), records: t.TempDir()}
	h.Watcher = Watcher{Digests: digest.Cache(filepath.Join(t.TempDir(), "digests")), Metrics: filepath.Join(t.TempDir(), "metrics"), Out: h.out}
	return h
}

// model places a model that is as its record says.
func (h *host) model(t *testing.T, name string) (record, path string) {
	t.Helper()
	path = filepath.Join(h.models, name+".gguf")
	write(t, path, "weights of "+name)
	sum := sha256.Sum256([]byte("weights of " + name))
	return h.record(t, checkrecord.Record{Name: name, Path: path, SHA256: hex.EncodeToString(sum[:])}), path
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
}

// tamper changes a file in place and hides it, as far as its times can.
func tamper(t *testing.T, path string) {
	t.Helper()
	is, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[0] ^= 1
	write(t, path, string(content))
	if err := os.Chtimes(path, is.ModTime(), is.ModTime()); err != nil {
		t.Fatal(err)
	}
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

// said is what it has printed since it was last asked.
func (h *host) said() string {
	defer h.out.Reset()
	return h.out.String()
}

func (h *host) metrics(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.Metrics, MetricsFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The first check reads the model, and those after it don't.
func TestCheckOfAGoodModel(t *testing.T) {
	h := newHost(t)
	record, _ := h.model(t, "tiny")
	for _, want := range []string{"it was read", "nothing has touched it"} {
		if err := h.Check(t.Context(), []string{record}); err != nil {
			t.Error(err)
		}
		if said := h.said(); !strings.HasPrefix(said, "model tiny: ") || !strings.Contains(said, "as pinned ("+want) {
			t.Errorf("it said %q, and not %q", said, want)
		}
	}
}

// Every refusal is one line that names the model, what is wrong and what to do.
func TestCheckRefuses(t *testing.T) {
	replace := func(with func(t *testing.T, path string)) func(*testing.T, *host, string) {
		return func(t *testing.T, _ *host, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			with(t, path)
		}
	}
	for name, test := range map[string]struct {
		spoil func(t *testing.T, h *host, path string)
		want  string
	}{
		"other bytes": {func(t *testing.T, _ *host, path string) { tamper(t, path) }, "is pinned as"},
		"a failed verification": {func(t *testing.T, h *host, path string) {
			r := h.Digests.Load(path)
			r.Verified = &digest.Verification{Unix: 1, Failure: "bad disk"}
			h.Digests.Store(r)
		}, "verification at 1970-01-01T00:00:01Z: bad disk"},
		"no model": {replace(func(*testing.T, string) {}), "is not on the host"},
		"a link": {replace(func(t *testing.T, path string) {
			if err := os.Symlink("/etc/passwd", path); err != nil {
				t.Fatal(err)
			}
		}), "symbolic link"},
		"a folder": {replace(func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o750); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(path, "a"), "b")
		}), "is a folder, and a file is to be there"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			record, path := h.model(t, "tiny")
			if err := h.Check(t.Context(), []string{record}); err != nil {
				t.Fatal(err)
			}
			test.spoil(t, h, path)
			err := h.Check(t.Context(), []string{record})
			if !errors.Is(err, ErrRefused) {
				t.Fatalf("the error is %v", err)
			}
			for _, want := range []string{test.want, "model tiny: " + path, "`llmhost up --refresh`"} {
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
	tamper(t, a)
	tamper(t, b)
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
	bad, path := h.model(t, "bad")
	h.model(t, "good")
	h.record(t, checkrecord.Record{Name: "gone", Path: h.models + "/gone.gguf", SHA256: strings.Repeat("a", 64)})
	tamper(t, path)
	err := h.Verify(t.Context(), []string{h.records}, 0)
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "model bad: ") || !strings.Contains(err.Error(), "model gone: ") || strings.Contains(err.Error(), "good") {
		t.Errorf("the error is %v", err)
	}
	if said := h.said(); !strings.Contains(said, "model good: ") || strings.Contains(said, "bad") {
		t.Errorf("it said %q", said)
	}
	for _, want := range []string{
		`llmhost_model_verified{model="bad"} 0` + "\n", `llmhost_model_verified{model="good"} 1` + "\n", `llmhost_model_verified{model="gone"} 0` + "\n",
		`llmhost_model_bytes{model="good"} 15` + "\n", `llmhost_model_last_verified_timestamp_seconds{model="good"} `,
		"# TYPE llmhost_model_verified gauge\n", "llmhost_models_broken_records 0\n",
	} {
		if !strings.Contains(h.metrics(t), want) {
			t.Errorf("the metrics lack %q:\n%s", want, h.metrics(t))
		}
	}
	// A server isn't started with what didn't pass.
	if err := h.Check(t.Context(), []string{bad}); !errors.Is(err, ErrRefused) {
		t.Errorf("the next check: %v", err)
	}
	// What was repaired passes.
	write(t, path, "weights of bad")
	if err := h.Check(t.Context(), []string{bad}); err != nil {
		t.Errorf("after the repair: %v", err)
	}
}

// What was found good lately is left out, so that a run which was cut off goes on.
func TestVerifyLeavesOutWhatWasFoundGoodLately(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, h *host, path string)
		again bool
	}{
		"good":            {func(*testing.T, *host, string) {}, false},
		"changed since":   {func(t *testing.T, _ *host, path string) { tamper(t, path); tamper(t, path) }, true},
		"good, long ago":  {func(_ *testing.T, h *host, path string) { h.verified(path, time.Now().Add(-2*time.Hour), "") }, true},
		"failed":          {func(_ *testing.T, h *host, path string) { h.verified(path, time.Now(), "bad disk") }, true},
		"in the future":   {func(_ *testing.T, h *host, path string) { h.verified(path, time.Now().Add(time.Hour), "") }, true},
		"nothing is kept": {func(_ *testing.T, h *host, path string) { h.Digests.Forget(path) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			_, path := h.model(t, "tiny")
			if err := h.Verify(t.Context(), []string{h.records}, time.Hour); err != nil || !strings.Contains(h.said(), "read in") {
				t.Fatalf("first run: %v", err)
			}
			test.spoil(t, h, path)
			if err := h.Verify(t.Context(), []string{h.records}, time.Hour); err != nil {
				t.Fatal(err)
			}
			said := h.said()
			if read := strings.Contains(said, "read in"); read != test.again || !read && !strings.Contains(said, "model tiny: was found good") {
				t.Errorf("it said %q", said)
			}
			if !strings.Contains(h.metrics(t), `llmhost_model_verified{model="tiny"} 1`) {
				t.Errorf("the metrics don't have it:\n%s", h.metrics(t))
			}
		})
	}
}

// verified changes what is remembered of the last verification.
func (h *host) verified(path string, when time.Time, failure string) {
	r := h.Digests.Load(path)
	r.Verified = &digest.Verification{Unix: when.Unix(), Failure: failure}
	h.Digests.Store(r)
}

func TestVerifyIsCutOff(t *testing.T) {
	h := newHost(t)
	h.model(t, "tiny")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Verify(ctx, []string{h.records}, 0); err != nil || !strings.Contains(h.said(), "interrupted in model tiny") {
		t.Errorf("got %v", err)
	}
	if err := h.Verify(t.Context(), []string{h.records}, time.Hour); err != nil || !strings.Contains(h.said(), "read in") {
		t.Errorf("it wasn't read after all: %v", err)
	}
}

func TestASignatureThatIsDemandedIsChecked(t *testing.T) {
	key, err := signing.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	public, err := signing.MarshalPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t)
	record, path := h.model(t, "tiny")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	r := checkrecord.Record{Name: "tiny", Path: path, SHA256: hex.EncodeToString(sum[:])}
	for what, test := range map[string]struct {
		signed string // the digest that was signed
		good   bool
	}{"its own": {r.SHA256, true}, "another model's": {strings.Repeat("a", 64), false}} {
		bundle, err := signing.Sign("tiny.gguf", []signing.File{{Name: "tiny.gguf", SHA256: test.signed}}, key)
		if err != nil {
			t.Fatal(err)
		}
		r.Signature = &checkrecord.Signature{PublicKey: string(public), Bundle: string(bundle)}
		h.record(t, r)
		for how, err := range map[string]error{
			"verify": h.Verify(t.Context(), []string{record}, 0),
			"check":  h.Check(t.Context(), []string{record}),
		} {
			if (err == nil) != test.good || !test.good && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "llmhost model sign")) {
				t.Errorf("%s with the signature of %s: %v", how, what, err)
			}
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
