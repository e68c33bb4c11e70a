package provider_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// engineSource writes a local archive with one program, and returns its path and digest.
func engineSource(t *testing.T) (path, digest string) {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	const program = "#!/bin/sh\n"
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "usr/", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "usr/bin/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "usr/bin/llama-server", Mode: 0o755, Size: int64(len(program))},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(program)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "engine.tar")
	if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(buf.Bytes())
	return path, hex.EncodeToString(sum[:])
}

func TestEngineLifecycle(t *testing.T) {
	root := filepath.Join(t.TempDir(), "engines")
	source, digest := engineSource(t)
	s := newStack(t, realHost(t))
	in := resource.PropertyMap{"root": str(root), "source": str(source), "sha256": str(digest)}
	saved := s.mustUp("Engine", "a", in, "create")
	folder := filepath.Join(root, digest)
	if got := saved.outputs["path"].StringValue(); got != folder || string(saved.id) != folder {
		t.Errorf("path %q and ID %q, want %q", got, saved.id, folder)
	}
	program := filepath.Join(folder, "usr/bin/llama-server")
	if _, err := os.Stat(program); err != nil {
		t.Fatal(err)
	}
	s.mustUp("Engine", "a", with(in, "source", str("/elsewhere/engine.tar")), "same")
	if got := s.drift("a"); got != nil {
		t.Errorf("drift of an untouched engine: %v", got)
	}
	if err := os.WriteFile(program, []byte("trojan"), 0o755); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"modifiedFiles"}, topLevel(s.drift("a"))); diff != "" {
		t.Errorf("drift (-want +got):\n%s", diff)
	}
	s.refresh("a")
	s.mustUp("Engine", "a", in, "update")
	if content, err := os.ReadFile(program); err != nil || string(content) != "#!/bin/sh\n" {
		t.Errorf("the repaired program: %q, %v", content, err)
	}
	if got := s.drift("a"); got != nil {
		t.Errorf("drift after the repair: %v", got)
	}
	if err := os.Remove(source); err != nil { // an intact folder needs no source
		t.Fatal(err)
	}
	delete(s.states, "a")
	s.mustUp("Engine", "a", in, "create")
	got := s.importID("Engine", "b", folder)
	if got.inputs["sha256"].StringValue() != digest || got.inputs["root"].StringValue() != root {
		t.Errorf("imported %v", got.inputs)
	}
	s.destroy("a")
	wantGone(t, folder)
}

func TestEngineCheck(t *testing.T) {
	s := newStackWith(t, offline(t))
	_, err := s.up("Engine", "a", resource.PropertyMap{"sha256": str("abc"), "source": str("a.zip"), "root": str("opt")})
	for _, want := range []string{"sha256: must be a SHA-256 digest", "source: must be a .tar, .tar.gz or .tar.zst", "source: must be an absolute path", "root: must be an absolute path"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
}
