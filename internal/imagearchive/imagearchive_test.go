package imagearchive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/internal/imagearchive"
	"github.com/llmhost/llmhost/internal/testimage"
)

// layer writes a tar with one file.
func layer(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "hello", Mode: 0o755, Size: 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return write(t, "layer.tar", b.Bytes())
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestArchivesOfEveryKind(t *testing.T) {
	spec := testimage.Spec{Layer: layer(t), Entrypoint: []string{"/hello"}, Architecture: "arm64", Tags: []string{"hello:1"}}
	for name, change := range map[string]func(*testimage.Spec){
		"docker-archive": func(*testimage.Spec) {},
		"both":           func(s *testimage.Spec) { s.OCI = true },
		"OCI layout":     func(s *testimage.Spec) { s.WithoutDocker, s.Tags = true, nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := spec
			change(&s)
			w, err := testimage.Write(filepath.Join(t.TempDir(), "image.tar"), s)
			if err != nil {
				t.Fatal(err)
			}
			want := []imagearchive.Image{{ID: w.ID, Manifest: w.Manifest, Tags: s.Tags, Architecture: "arm64", OS: "linux", DockerLoads: !s.WithoutDocker}}
			got, err := imagearchive.ReadFile(w.Path)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Fatalf("%v\n%s", err, diff)
			}
			plain, err := os.ReadFile(w.Path)
			if err != nil {
				t.Fatal(err)
			}
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			if _, err := z.Write(plain); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			got, err = imagearchive.ReadFile(write(t, "image.tar.gz", packed.Bytes()))
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("compressed: %v\n%s", err, diff)
			}
		})
	}
}

// The same image has the same bytes, so that its digest can be in a committed host file.
func TestTestImagesAreDeterministic(t *testing.T) {
	spec := testimage.Spec{Layer: layer(t), Entrypoint: []string{"/hello"}, Architecture: "amd64", OCI: true}
	a, err := testimage.Write(filepath.Join(t.TempDir(), "a.tar"), spec)
	if err != nil {
		t.Fatal(err)
	}
	b, err := testimage.Write(filepath.Join(t.TempDir(), "b.tar"), spec)
	if err != nil || a.SHA256 != b.SHA256 {
		t.Errorf("%s and %s, %v", a.SHA256, b.SHA256, err)
	}
}

func TestWhatIsNoArchive(t *testing.T) {
	packed := func(name, content string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"nothing":                 {nil, "it is empty"},
		"another file":            {[]byte(strings.Repeat("GGUF", 400)), "tar"},
		"an engine":               {packed("usr/bin/llama-server", "#!/bin/sh"), "neither a manifest.json nor an index.json"},
		"a missing configuration": {packed("manifest.json", `[{"Config":"x.json"}]`), `"x.json", which is not in it`},
		"another manifest.json":   {packed("manifest.json", `{"name":"web app"}`), "not as docker save writes it"},
	} {
		file := write(t, "image.tar", test.content)
		if _, err := imagearchive.ReadFile(file); err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	f.Add([]byte("manifest.json"), []byte(`[{"Config":"c.json","RepoTags":["a:1"]}]`))
	f.Add([]byte("index.json"), []byte(`{"manifests":[{"digest":"sha256:00"}]}`))
	f.Fuzz(func(t *testing.T, name, content []byte) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: string(name), Mode: 0o644, Size: int64(len(content))}) != nil {
			return
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
		w.Close()
		file := filepath.Join(dir, "x.tar")
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		images, err := imagearchive.ReadFile(file)
		if err == nil && len(images) == 0 {
			t.Error("neither an image nor an error")
		}
	})
}
