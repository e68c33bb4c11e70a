package drift

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func sample() Report {
	file := Resource{URN: "urn:a", Type: "llmhost:index:File", Name: "den-motd", ID: "/etc/motd.d/10-llmhost"}
	unit := Resource{URN: "urn:b", Type: "llmhost:index:SystemdUnit", Name: "den-chat-unit", ID: "llmhost-chat.service"}
	model := Resource{URN: "urn:c", Type: "llmhost:index:Model", Name: "den-tiny", ID: "/srv/models/tiny.gguf"}
	long := strings.Repeat("kept\n", 20)
	change := func(r Resource, property string, want, have any) Finding {
		return Finding{URN: r.URN, Type: r.Type, Name: r.Name, ID: r.ID, Kind: Changed, Property: property, Want: want, Have: have}
	}
	return New("den", "den.lan", time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("CET", 3600)), []Finding{
		change(file, "content", long+"one\ntwo\n"+long+"end", long+"one\n2\n"+long+"end\x1b[2J\nmore"),
		change(file, "mode", "0644", "0666"),
		change(file, "secretContent", Secret, OtherSecret),
		model.Missing(),
		change(unit, `dropIns["loose.conf"]`, nil, "[Service]\nProtectHome=no\n"),
		change(unit, "enabled", true, false),
		change(unit, "groups", []any{"a"}, []any{"a", "sudo"}),
	}, Finding{Kind: Facts, Property: "kernel", Want: "6.12.1", Have: "6.12.9"})
}

func golden(t *testing.T, name string, have []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, have, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(have)); diff != "" {
		t.Errorf("%s (-want +have), -update rewrites it:\n%s", path, diff)
	}
}

func TestViews(t *testing.T) {
	for name, write := range map[string]func(*bytes.Buffer) error{
		"drift.txt":  func(b *bytes.Buffer) error { return sample().WriteText(b, false) },
		"colour.txt": func(b *bytes.Buffer) error { return sample().WriteText(b, true) },
		"drift.json": func(b *bytes.Buffer) error { return sample().WriteJSON(b) },
		"none.txt":   func(b *bytes.Buffer) error { return New("den", "den.lan", time.Now(), nil).WriteText(b, false) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name, b.Bytes())
		})
	}
}

// What a host's file holds must not reach the terminal as commands.
func TestTextIsHarmless(t *testing.T) {
	evil := "\x1b]0;owned\x07\r\nx\n"
	for _, f := range []Finding{
		{URN: "u", Type: "t", ID: "/a", Kind: Changed, Property: "content", Want: "x\n", Have: evil},
		{URN: "u", Type: "t", ID: "/a", Kind: Changed, Property: "comment", Want: "x", Have: "\x1b]0;owned\x07"},
		{URN: "u", Type: "t", ID: "/a\x1b[2J", Kind: Missing},
		{URN: "u", Type: "t", ID: "/a", Kind: Changed, Property: "parts[\"\x1b[2J\"]", Want: "x", Have: "y"},
	} {
		var b bytes.Buffer
		if err := New("den", "den.lan", time.Now(), []Finding{f}).WriteText(&b, false); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(b.String(), func(r rune) bool { return r < ' ' && r != '\n' }); i >= 0 {
			t.Errorf("a control character of the host reaches the terminal: %q", b.String())
		}
	}
}

func TestChangedWalksPathsAndMasksSecrets(t *testing.T) {
	secret := func(v string) resource.PropertyValue { return resource.MakeSecret(resource.NewStringProperty(v)) }
	want := Properties{Inputs: resource.PropertyMap{
		"mode":    resource.NewStringProperty("0644"),
		"key":     secret("a"),
		"dropIns": resource.NewPropertyValue(map[string]any{"a.conf": "x", "b.conf": "y"}),
		"groups":  resource.NewPropertyValue([]any{"a", "b"}),
		"hidden":  resource.MakeSecret(resource.NewPropertyValue(map[string]any{"in": "side"})),
		"mixed":   resource.NewObjectProperty(resource.PropertyMap{"open": resource.NewStringProperty("o"), "shut": secret("s")}),
	}, Outputs: resource.PropertyMap{"sha256": resource.NewStringProperty("aa")}}
	have := Properties{Inputs: resource.PropertyMap{
		"mode":    resource.NewStringProperty("0666"),
		"key":     resource.NewStringProperty("b"),
		"dropIns": resource.NewPropertyValue(map[string]any{"a.conf": "z"}),
		"groups":  resource.NewPropertyValue([]any{"a"}),
		"hidden":  resource.NewPropertyValue(map[string]any{"in": "out"}),
		"mixed":   resource.NewObjectProperty(resource.PropertyMap{"open": resource.NewStringProperty("p"), "shut": secret("t")}),
	}, Outputs: resource.PropertyMap{"sha256": resource.NewStringProperty("bb")}}
	type pair struct{ Want, Have any }
	for path, expected := range map[string]pair{
		"mode":              {"0644", "0666"},
		"key":               {Secret, OtherSecret}, // although the host's side is not marked
		`dropIns["a.conf"]`: {"x", "z"},
		`dropIns["b.conf"]`: {"y", nil},
		"groups[1]":         {"b", nil},
		"hidden.in":         {Secret, OtherSecret},
		"mixed":             {map[string]any{"open": "o", "shut": Secret}, map[string]any{"open": "p", "shut": Secret}},
		"sha256":            {"aa", "bb"}, // an output where an input was promised
		"absent.path":       {nil, nil},
	} {
		f := Resource{}.Changed(want, have, map[string]bool{path: true})
		if diff := cmp.Diff([]pair{expected}, []pair{{f[0].Want, f[0].Have}}); diff != "" {
			t.Errorf("%s (-want +have):\n%s", path, diff)
		}
	}
}

func TestLineDiff(t *testing.T) {
	for _, c := range []struct{ want, have, diff string }{
		{"a\nb\nc\n", "a\nB\nc\n", " a|-b|+B| c"},
		{"", "a\n", "+a"},
		{"a\n", "", "-a"},
		{"a\n", "a", "-a|+a  (no newline at the end)"},
		{"1\n2\n3\n4\n5\n6\n", "1\nx\n3\n4\n5\n", " 1|-2|+x| 3|~| 5|-6"},
		{strings.Repeat("x\n", maxLines+1), "x\n", ""},
	} {
		var lines []string
		for _, l := range lineDiff(c.want, c.have) {
			lines = append(lines, string(l.mark)+l.text)
		}
		if have := strings.Join(lines, "|"); have != c.diff {
			t.Errorf("%.20q to %.20q: %q, want %q", c.want, c.have, have, c.diff)
		}
	}
}
