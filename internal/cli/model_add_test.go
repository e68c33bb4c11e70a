package cli

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/source/fakehub"
	"github.com/llmhost/llmhost/internal/testmodel"
)

// tinyModel writes the project's own tiny model: tinymodel FILE [SHARDS]. With shards, FILE is
// what stands before their numbers.
func tinyModel(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: tinymodel FILE [SHARDS]")
	}
	file := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	if len(args) == 2 {
		count, err := strconv.Atoi(args[1])
		ts.Check(err)
		_, err = testmodel.WriteShards(filepath.Dir(file), filepath.Base(file), count, testmodel.Spec{})
		ts.Check(err)
		return
	}
	_, _, err := testmodel.WriteFile(file, testmodel.Spec{})
	ts.Check(err)
}

// startOrigin starts a server of the files of a folder, and a fake hub whose repository org/repo
// has them: origin FOLDER. $ORIGIN and $HUB are where they are, and $COMMIT is what main means.
// The server says no digests, except that plain.gguf has one beside it.
func startOrigin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: origin FOLDER")
	}
	folder := ts.MkAbs(args[0])
	server := httptest.NewServer(http.FileServer(http.Dir(folder)))
	ts.Defer(server.Close)
	entries, err := os.ReadDir(folder)
	ts.Check(err)
	repository := fakehub.Repository{Files: map[string][]byte{}}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(folder, e.Name()))
		ts.Check(err)
		repository.Files[e.Name()] = content
		if len(content) > 1<<10 {
			repository.LFS = append(repository.LFS, e.Name())
		}
	}
	hub := fakehub.Start(&scripted{ts: ts}, map[string]fakehub.Repository{"org/repo": repository})
	ts.Setenv("ORIGIN", server.URL)
	ts.Setenv("HUB", hub.URL)
	ts.Setenv("COMMIT", hub.Commit("org/repo"))
}

// scripted is a script as what a fake hub wants: something that ends and that can fail.
type scripted struct {
	testing.TB
	ts *testscript.TestScript
}

func (s *scripted) Helper()                           {}
func (s *scripted) Cleanup(f func())                  { s.ts.Defer(f) }
func (s *scripted) Fatalf(format string, args ...any) { s.ts.Fatalf(format, args...) }

// A model's name is one that a host file takes, whatever its source is called.
func TestNamesOfSources(t *testing.T) {
	for text, want := range map[string]string{
		"/m/Qwen3 4B_Q4_K_M.gguf":                    "qwen3-4b_q4_k_m",
		"/m/x-00001-of-00003.gguf":                   "x",
		"hf://org/Llama-3.3-70B@main":                "llama-3.3-70b",
		"https://e.org/a/Phi%204.gguf?download=true": "phi-4",
		"/m/.hidden.gguf":                            "hidden",
		"/m/模型.gguf":                                 "",
	} {
		s, err := modelfile.ParseSource(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := nameFor(s); got != want {
			t.Errorf("%s is called %q, not %q", text, got, want)
		}
	}
}

func TestCountsOfParameters(t *testing.T) {
	for n, want := range map[uint64]string{999: "999", 1500: "1.5k", 494_000_000: "494M", 70_553_706_496: "70.6B", 1_000_000_000_000: "1T"} {
		if got := parameters(n); got != want {
			t.Errorf("%d is %s, not %s", n, got, want)
		}
	}
}

// The digest that add writes is the folder's as ordinary tools compute it.
func TestAddedFolderHasTheManifestsDigest(t *testing.T) {
	dir := projectWith(t, map[string]string{"good": goodHost})
	models := filepath.Join(dir, "models")
	if err := os.Mkdir(models, 0o700); err != nil {
		t.Fatal(err)
	}
	names, err := testmodel.WriteShards(models, "x", 2, testmodel.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	var manifest bytes.Buffer
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(models, name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&manifest, "%x  %s\n", sha256.Sum256(content), name)
	}
	out, code, err := runVerb(t, newModelAddCmd(), "models/"+names[0])
	if code != 0 || err != nil {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	text := contents(t, filepath.Join(dir, "hosts", "good.hcl"))
	want := fmt.Sprintf("  model \"x\" {\n    source = \"../models/x-00001-of-00002.gguf\"\n    sha256 = \"%x\" # of the local files, on %s\n\n    shape {\n      size         = \"492800B\"\n",
		sha256.Sum256(manifest.Bytes()), time.Now().Format(time.DateOnly))
	if !bytes.Contains([]byte(text), []byte(want)) {
		t.Errorf("the host file lacks\n%s\nand is\n%s", want, text)
	}
}

// A local path is written so that it is found from the host file on another machine, too, as far
// as that can be.
func TestLocalPathsInHostFiles(t *testing.T) {
	base := t.TempDir()
	home, project := filepath.Join(base, "home"), filepath.Join(base, "home", "project")
	t.Setenv("HOME", home)
	if err := os.MkdirAll(filepath.Join(project, "hosts"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(project)
	for typed, want := range map[string]string{
		"models/x.gguf":                         "../models/x.gguf",
		filepath.Join(project, "models/x.gguf"): "../models/x.gguf",
		"hosts/x.gguf":                          "x.gguf",
		"../models/x.gguf":                      "~/models/x.gguf",
		"~/models/x.gguf":                       "~/models/x.gguf",
		filepath.Join(base, "elsewhere/x.gguf"): filepath.Join(base, "elsewhere/x.gguf"),
		"../../elsewhere/x.gguf":                filepath.Join(base, "elsewhere/x.gguf"),
		"hf://org/repo@main/x.gguf":             "hf://org/repo@main/x.gguf",
		"models/x-00001-of-00002.gguf":          "../models/x-00001-of-00002.gguf",
	} {
		s, err := modelfile.ParseSource(typed)
		if err != nil {
			t.Fatal(err)
		}
		got, err := written(s, typed, "hosts/good.hcl")
		if err != nil || got.Text != want {
			t.Errorf("%s is written as %s, %v; want %s", typed, got.Text, err, want)
		}
	}
}
