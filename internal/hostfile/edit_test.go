package hostfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/internal/modelfile"
)

const edited = `# A comment at the top.
host "x" {
  local   {}   # odd spacing stays

	model "tiny" {
	  source   = "a.gguf"
	  sha256   = "old" # pinned
	}
  model "bare" {
    source = "b.gguf" # the file
    retain = true
  }
  engine "llama.cpp" { source = "a.tar" }
  ssh {
  }
}
`

func TestApplyChangesNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		edit     Edit
		old, new string
	}{
		"a value that is there": {
			Edit{"model", "tiny", "sha256", "new"},
			`"old"`, `"new"`,
		},
		"the same value": {
			Edit{"model", "tiny", "sha256", "old"},
			`"old"`, `"old"`,
		},
		"a value that isn't there": {
			Edit{"model", "bare", "sha256", "new"},
			"    retain = true\n", "    retain = true\n    sha256 = \"new\"\n",
		},
		"a longer name": {
			Edit{"model", "bare", "very_long_name", "new"},
			"    retain = true\n", "    retain = true\n    very_long_name = \"new\"\n",
		},
		"a value that HCL would read as more than text": {
			Edit{"model", "tiny", "source", "${x} \"q\"\n"},
			`"a.gguf"`, `"$${x} \"q\"\n"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Apply([]byte(edited), "x.hcl", c.edit)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Replace(edited, c.old, c.new, 1), string(got)); diff != "" {
				t.Errorf("the text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestApplyRefusesWhatItCannotDo(t *testing.T) {
	for name, c := range map[string]struct {
		edit Edit
		hint string
	}{
		"no such block":       {Edit{"model", "none", "sha256", "new"}, `no block model "none"`},
		"a block on one line": {Edit{"engine", "llama.cpp", "sha256", "new"}, `write sha256 = "new" there yourself`},
		"an empty block":      {Edit{"ssh", "", "host_key", "k"}, `cannot write host_key into ssh`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Apply([]byte(edited), "x.hcl", c.edit); err == nil || !strings.Contains(err.Error(), c.hint) {
				t.Errorf("error %v; want one with %q", err, c.hint)
			}
		})
	}
}

func TestRewrite(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.hcl")
	if err := os.WriteFile(file, []byte(edited), 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.hcl")
	if err := os.Symlink("x.hcl", link); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := Rewrite(link, Edit{"model", "tiny", "sha256", "old"}); changed || err != nil {
		t.Fatalf("the same value: %v, %v", changed, err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) || before.ModTime() != after.ModTime() {
		t.Errorf("a file that stays the same was written (%v)", err)
	}
	if changed, err := Rewrite(link, Edit{"model", "tiny", "sha256", "new"}, Edit{"model", "bare", "sha256", "new"}); !changed || err != nil {
		t.Fatalf("two new values: %v, %v", changed, err)
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Count(string(text), `"new"`) != 2 {
		t.Errorf("%v, the file is now:\n%s", err, text)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file's mode is now %v, %v", info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone (%v)", err)
	}
	// An edit that fails leaves the file as it is, earlier edits of the same call included.
	if _, err := Rewrite(file, Edit{"model", "tiny", "sha256", "third"}, Edit{"model", "none", "sha256", "third"}); err == nil {
		t.Error("an edit of a block that isn't there succeeded")
	}
	if again, err := os.ReadFile(file); err != nil || string(again) != string(text) {
		t.Errorf("%v, a failed edit changed the file:\n%s", err, again)
	}
}

func TestPins(t *testing.T) {
	digest := strings.Repeat("a", 64)
	text := `host "x" {
  local {}
  engine "llama.cpp" {
    source = "/a.tar"
    sha256 = "` + digest + `"
  }
  model "missing" {
    source = "/b.gguf"

    companion "vision" {
      kind   = "mmproj"
      source = "host:/data/v.gguf"
    }
  }
  model "placeholder" {
    source = "/c.gguf"
    sha256 = "…"
  }
}
`
	file := filepath.Join(t.TempDir(), "x.hcl")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	host, diags := LoadUnpinned(file)
	if err := AsError(diags); err != nil {
		t.Fatal(err)
	}
	local := func(path string) modelfile.Source {
		return modelfile.Source{Text: path, Kind: modelfile.Local, Path: path}
	}
	want := []Pin{
		{"engine", "llama.cpp", local("/a.tar"), digest, "", nil, nil},
		{"model", "missing", local("/b.gguf"), "", "", nil, nil},
		{"companion", "missing/vision", modelfile.Source{Text: "host:/data/v.gguf", Kind: modelfile.Host, Path: "/data/v.gguf"}, "", MMProj, nil, nil},
		{"model", "placeholder", local("/c.gguf"), "", "", nil, nil},
	}
	if diff := cmp.Diff(want, host.Pins()); diff != "" {
		t.Errorf("pins (-want +got):\n%s", diff)
	}
	var edits []Change
	for _, p := range host.Pins() {
		edits = append(edits, p.Edit(digest))
	}
	if _, err := Rewrite(file, edits...); err != nil {
		t.Fatal(err)
	}
	if _, diags := Load(file); diags.HasErrors() {
		t.Errorf("pinned, and still not valid: %v", AsError(diags))
	}
	// A fault that isn't a digest's is one here too.
	write(strings.Replace(text, "local {}", "", 1))
	if _, diags := LoadUnpinned(file); len(diags) != 1 {
		t.Errorf("diagnostics: %v", diags)
	}
}

func TestShapeIsWrittenAndReplaced(t *testing.T) {
	const before = `host "h" {
  local {}

  model "m" {
    source = "/m.gguf"
    sha256 = "x" # kept

    companion "draft" {
      kind   = "draft"
      source = "/d.gguf"
    }
  }
}
`
	change := func(text string, c Change) string {
		t.Helper()
		out, err := Apply([]byte(text), "h.hcl", c)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	companion := NewShape{"companion", "m/draft", Shape{Size: 5 << 20}}
	model := NewShape{"model", "m", Shape{Size: 1 << 30, Layers: 32, KVPerToken: 128 << 10, Vocabulary: 1000, Width: 4096}}
	text := change(change(before, companion), model)
	const want = `host "h" {
  local {}

  model "m" {
    source = "/m.gguf"
    sha256 = "x" # kept

    companion "draft" {
      kind   = "draft"
      source = "/d.gguf"

      shape {
        size = "5MiB"
      }
    }

    shape {
      size         = "1GiB"
      layers       = 32
      kv_per_token = "128KiB"
      vocabulary   = 1000
      width        = 4096
    }
  }
}
`
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if again := change(text, model); again != text {
		t.Errorf("the same shape changes the text:\n%s", cmp.Diff(text, again))
	}
	model.Shape.Size = 2 << 30
	if diff := cmp.Diff(strings.Replace(text, `"1GiB"`, `"2GiB"`, 1), change(text, model)); diff != "" {
		t.Errorf("a new size (-want +got):\n%s", diff)
	}
}
