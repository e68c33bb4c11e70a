package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/internal/testimage"
)

// The digests of "engine" and "tiny", by sha256sum(1).
const (
	engineDigest = "ed9f6f25068608efd412958da4dfc19328ca3511251fa6d5f9c42baf230e32f8"
	tinyDigest   = "8950abfda7b727630760dd35bcf5c3daa7631aff223a90f7728c0d2521dde10c"
	zeroDigest   = "0000000000000000000000000000000000000000000000000000000000000000"
)

func projectToPin(t *testing.T) (file string) {
	t.Helper()
	dir := projectWith(t, map[string]string{"good": goodHost})
	for name, text := range map[string]string{"engine.tar": "engine", "tiny.gguf": "tiny", "spare.gguf": "tiny"} {
		if err := os.WriteFile(filepath.Join(dir, "hosts", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "hosts", "good.hcl")
}

func contents(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPinWritesTheDigestsAndNothingElse(t *testing.T) {
	file := projectToPin(t)
	out, code, err := runVerb(t, newPinCmd(), "-s", "good")
	if code != 0 || err != nil {
		t.Fatalf("exit code %d, %v", code, err)
	}
	want := "engine llama.cpp: " + zeroDigest + " → " + engineDigest + "\n" +
		"model tiny: " + zeroDigest + " → " + tinyDigest + "\n" +
		"model spare: " + zeroDigest + " → " + tinyDigest + "\n"
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("the report (-want +got):\n%s", diff)
	}
	text := strings.Replace(goodHost, zeroDigest, engineDigest, 1)
	text = strings.ReplaceAll(text, zeroDigest, tinyDigest)
	if diff := cmp.Diff(text, contents(t, file)); diff != "" {
		t.Errorf("the host file (-want +got):\n%s", diff)
	}

	// Once more: the project's only host needs no name, and nothing is left to do.
	out, code, err = runVerb(t, newPinCmd())
	if code != 0 || err != nil || strings.Count(out, ", unchanged\n") != 3 {
		t.Errorf("a second time: exit code %d, %v, %s", code, err, out)
	}
	if _, code, err := runVerb(t, newPinCmd(), "--check"); code != 0 || err != nil {
		t.Errorf("checked afterwards: exit code %d, %v", code, err)
	}
}

func TestPinOneEntry(t *testing.T) {
	file := projectToPin(t)
	if _, code, err := runVerb(t, newPinCmd(), "model", "spare"); code != 0 || err != nil {
		t.Fatalf("exit code %d, %v", code, err)
	}
	text := contents(t, file)
	if strings.Count(text, zeroDigest) != 2 || !strings.Contains(text[strings.Index(text, `"spare"`):], tinyDigest) {
		t.Errorf("the host file is now:\n%s", text)
	}
	for args, hint := range map[string]string{
		"model none":   `no model "none"; it has engine llama.cpp, model tiny, model spare`,
		"engine":       "engine NAME, model NAME or companion MODEL/NAME",
		"server chat":  `no server "chat"`,
		"-s elsewhere": "the host files are good",
		"-s ../good":   "can't be the name of a host",
	} {
		if _, code, err := runVerb(t, newPinCmd(), strings.Fields(args)...); code != 1 || err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("pin %s: exit code %d, %v; want %q", args, code, err, hint)
		}
	}
	if contents(t, file) != text {
		t.Error("a wrong use changed the host file")
	}
}

func TestPinCheckOnlyReports(t *testing.T) {
	file := projectToPin(t)
	out, code, err := runVerb(t, newPinCmd(), "--check", "--json")
	if code != 2 || err != nil {
		t.Errorf("exit code %d, %v; want 2", code, err)
	}
	var got []pinned
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in: %s", err, out)
	}
	want := pinned{Kind: "engine", Name: "llama.cpp", Source: filepath.Join(filepath.Dir(file), "engine.tar"), Old: zeroDigest, New: engineDigest, Changed: true}
	if len(got) != 3 || got[0] != want {
		t.Errorf("got %+v; want the first to be %+v", got, want)
	}
	if contents(t, file) != goodHost {
		t.Error("--check changed the host file")
	}
}

// Neither a source that isn't there nor a fault elsewhere in the file leaves it half pinned.
func TestPinAllOrNothing(t *testing.T) {
	file := projectToPin(t)
	if err := os.Remove(filepath.Join(filepath.Dir(file), "tiny.gguf")); err != nil {
		t.Fatal(err)
	}
	if _, code, err := runVerb(t, newPinCmd()); code != 1 || err == nil || !strings.Contains(err.Error(), `model "tiny": the source `) {
		t.Errorf("a missing source: exit code %d, %v", code, err)
	}
	if contents(t, file) != goodHost {
		t.Error("the others were pinned all the same")
	}
	faulty := strings.Replace(goodHost, "1GiB", "1", 1)
	if err := os.WriteFile(file, []byte(faulty), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, code, err := runVerb(t, newPinCmd()); code != 1 || err == nil || !strings.Contains(err.Error(), "hosts/good.hcl:22,14-17") {
		t.Errorf("a fault elsewhere: exit code %d, %v", code, err)
	}
}

// The id of an image that is loaded from an archive is pinned with the archive.
func TestPinWritesTheIdOfAnImage(t *testing.T) {
	dir := projectWith(t, map[string]string{"pod": `host "pod" {
  ssh {
    address = "pod.test"
  }

  engine "llama.cpp" {
    image  = "llama.cpp:latest" # the one in the archive
    source = "image.tar"
    sha256 = "` + zeroDigest + `"
  }
}
`})
	layer := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(layer, []byte("layer"), 0o600); err != nil {
		t.Fatal(err)
	}
	image, err := testimage.Write(filepath.Join(dir, "hosts", "image.tar"), testimage.Spec{Layer: layer, Architecture: "amd64", OCI: true})
	if err != nil {
		t.Fatal(err)
	}
	out, code, err := runVerb(t, newPinCmd(), "-s", "pod")
	if code != 0 || err != nil || !strings.Contains(out, "engine llama.cpp: image "+image.ID) {
		t.Fatalf("exit code %d, %v:\n%s", code, err, out)
	}
	text := contents(t, filepath.Join(dir, "hosts", "pod.hcl"))
	if !strings.Contains(text, `image  = "`+image.ID+`" # the one in the archive`) || !strings.Contains(text, image.SHA256) {
		t.Errorf("the host file:\n%s", text)
	}
	if out, code, err = runVerb(t, newPinCmd(), "-s", "pod", "--check"); code != 0 || err != nil {
		t.Errorf("what was pinned differs: exit code %d, %v:\n%s", code, err, out)
	}
}
