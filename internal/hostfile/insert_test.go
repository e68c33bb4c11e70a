package hostfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var aModel = NewModel{
	Name: "new", Source: "~/new.gguf", SHA256: strings.Repeat("a", 64), Origin: "as computed, on 2026-01-02",
	Companions: []NewCompanion{{Model: "new", Name: "vision", Kind: MMProj, Source: "~/v.gguf", SHA256: strings.Repeat("b", 64)}},
}

const aModelText = `model "new" {
  source = "~/new.gguf"
  sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" # as computed, on 2026-01-02

  companion "vision" {
    kind   = "mmproj"
    source = "~/v.gguf"
    sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
  }
}
`

func indented(text, by string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line != "\n" {
			line = by + line
		}
		b.WriteString(line)
	}
	return b.String()
}

// A new model stands below the last one, or below what it needs, and nothing else changes.
func TestANewModelHasItsPlace(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"below the last model": {
			"host \"x\" {\n  local {}\n\n  model \"a\" {\n    source = \"a\"\n  } # the old one\n",
			"\n  # Servers.\n  server \"s\" {}\n}\n",
		},
		"below the engines": {"host \"x\" {\n  engine \"e\" {\n  }\n", "\n  server \"s\" {\n  }\n}\n"},
		"with odd indentation": {
			"host \"x\" {\n  local {}\n",
			"\n}\n# The end.\n",
		},
		"below attributes": {"host \"x\" {\n  timezone = \"UTC\"\n", "}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Apply([]byte(c.before+c.after), "x.hcl", aModel)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.before+"\n"+indented(aModelText, "  ")+c.after, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	got, err := Apply([]byte("host \"x\" {\n}\n"), "x.hcl", aModel)
	if err != nil || string(got) != "host \"x\" {\n"+indented(aModelText, "  ")+"}\n" {
		t.Errorf("in an empty block: %v\n%s", err, got)
	}
	got, err = Apply([]byte("host \"x\" {\n\tlocal {}\n}\n"), "x.hcl", aModel)
	if err != nil || string(got) != "host \"x\" {\n\tlocal {}\n\n"+indented(aModelText, "\t")+"}\n" {
		t.Errorf("with a tab: %v\n%s", err, got)
	}
}

func TestANewModelThatCannotBeAdded(t *testing.T) {
	for _, text := range []string{`host "x" {}`, `host "x" { timezone = "UTC" }`} {
		if got, err := Apply([]byte(text), "x.hcl", aModel); err == nil || !strings.Contains(err.Error(), aModelText) {
			t.Errorf("%s became %s, %v; want the block to add by hand", text, got, err)
		}
	}
	if _, err := Apply([]byte("engine \"e\" {}\n"), "x.hcl", aModel); err == nil || !strings.Contains(err.Error(), "no host block") {
		t.Errorf("without a host block: %v", err)
	}
}

func TestANewCompanion(t *testing.T) {
	c := NewCompanion{Model: "a", Name: "guess", Kind: Draft, Source: "d.gguf", SHA256: strings.Repeat("c", 64)}
	before := "host \"x\" {\n  model \"a\" {\n    source = \"a\"\n"
	got, err := Apply([]byte(before+"  }\n}\n"), "x.hcl", c)
	if err != nil || string(got) != before+"\n"+indented(c.String(), "    ")+"  }\n}\n" {
		t.Errorf("%v\n%s", err, got)
	}
	c2 := c
	c2.Name = "other"
	again, err := Apply(got, "x.hcl", c2)
	if err != nil || string(again) != before+"\n"+indented(c.String(), "    ")+"\n"+indented(c2.String(), "    ")+"  }\n}\n" {
		t.Errorf("%v\n%s", err, again)
	}
	c.Model = "none"
	if _, err := Apply(got, "x.hcl", c); err == nil || !strings.Contains(err.Error(), `no block model "none"`) {
		t.Errorf("for a model that isn't there: %v", err)
	}
}

// Where a digest is from stands behind it, what a person wrote there stays, and nothing wrong does.
func TestOrigin(t *testing.T) {
	const now = " # of the local file, on 2026-01-02"
	line := "host \"x\" {\n  model \"a\" {\n    sha256 = \"x\"%s\n  }\n}\n"
	for there, want := range map[string]struct{ set, refreshed string }{
		"":                                      {now, ""},
		" # a placeholder: llmhost pin":         {now, now},
		" # as the hub lists it, on 2025-12-31": {now, now},
		" # checked by Ann, on 2025-12-31":      {" # checked by Ann, on 2025-12-31", " # checked by Ann, on 2025-12-31"},
		" /* checked by Ann */":                 {" /* checked by Ann */", " /* checked by Ann */"},
	} {
		for refresh, want := range map[bool]string{false: want.set, true: want.refreshed} {
			o := Origin{modelBlock, "a", "of the local file, on 2026-01-02", refresh}
			got, err := Apply([]byte(strings.Replace(line, "%s", there, 1)), "x.hcl", o)
			if err != nil || string(got) != strings.Replace(line, "%s", want, 1) {
				t.Errorf("%q, refresh %v: %v\n%s", there, refresh, err, got)
			}
		}
	}
}

// A change that would make the file faulty is refused with the fault, shown in the text that would have been written.
func TestRewriteKeepsAFileValid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.hcl")
	text := "host \"x\" {\n  local {}\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m := aModel
	m.Source = "host:/etc/x.gguf"
	_, err := Rewrite(file, m)
	if err == nil || !strings.Contains(err.Error(), "belongs to the operating system") || !strings.Contains(err.Error(), `source = "host:/etc/x.gguf"`) {
		t.Errorf("got %v", err)
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != text {
		t.Errorf("%v, the file is now\n%s", err, now)
	}
	if changed, err := Rewrite(file, aModel); err != nil || !changed {
		t.Errorf("a good model: %v, %v", changed, err)
	}
}

// Whatever a host file looks like, a new model is added and nothing of the rest is touched, or there is an error.
func FuzzNewModel(f *testing.F) {
	for _, pattern := range []string{"testdata/*.hcl", "../../hosts/*.hcl"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatalf("%s: %v, %d files", pattern, err, len(paths))
		}
		for _, path := range paths {
			src, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	f.Add([]byte("host \"x\" {\n}"))
	f.Add([]byte("host \"x\" {\r\n  model \"a\" {\r\n  }\r\n}\r\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if checkLimits(src, "x.hcl") != nil {
			return
		}
		got, err := Apply(src, "x.hcl", aModel)
		if err != nil {
			return
		}
		added := len(got) - len(src)
		at := 0
		for at < len(src) && src[at] == got[at] {
			at++
		}
		if added <= 0 || string(got[at+added:]) != string(src[at:]) {
			t.Errorf("%q became %q", src, got)
		}
		if err := aModel.verify(got, "x.hcl"); err != nil {
			t.Errorf("%q became %q: %v", src, got, err)
		}
	})
}
