package checkrecord

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const digest = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	want := Record{
		Name: "tiny/vision", Path: "/srv/models/tiny.vision.gguf", SHA256: digest, Servers: []string{"llmhost-a.service"},
		Signature: &Signature{PublicKey: "-----BEGIN PUBLIC KEY-----\n<&>\n", Bundle: "{\n}\n"},
	}
	text, err := want.Text()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want.Format = 1
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, text)
	}
}

func TestDamagedRecordsAreRefused(t *testing.T) {
	const good = `{"format": 1, "name": "a", "path": "/srv/a.gguf", "sha256": "` + digest + `"}`
	if _, err := Read(strings.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ old, new, want string }{
		"no JSON":               {"{", "", "isn't the record"},
		"of a newer llmhost":    {`"format": 1`, `"format": 2`, "newer llmhost"},
		"without a format":      {`"format": 1, `, "", "format"},
		"without a name":        {`"a"`, `""`, "name"},
		"a path that climbs":    {"/srv/a", "/srv/../etc/a", "path"},
		"a relative path":       {"/srv/a", "a", "path"},
		"half a digest":         {digest, digest[:32], "sha256"},
		"an upper-case digest":  {digest, strings.ToUpper(digest), "sha256"},
		"half a signature":      {"}", `, "signature": {"public_key": "x"}}`, "bundle"},
		"larger than is needed": {"}", strings.Repeat(" ", maxSize) + "}", "larger"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Read(strings.NewReader(strings.Replace(good, test.old, test.new, 1)))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %+v, %v; the error should name %q", r, err, test.want)
			}
		})
	}
}

// A name of a model may hold a dot, so that two names could have one file.
func TestEveryNameHasAFileOfItsOwn(t *testing.T) {
	if a, b := File("a.b"), File("a/b"); a == b {
		t.Errorf("the model a.b and the companion b of the model a share %s", a)
	}
}
