package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The committed SDK is what the provider's schema gives today, with nothing left over.
func TestCommittedSDKIsFresh(t *testing.T) {
	want, err := generate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const root = ".."
	for name, content := range want {
		have, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Errorf("%s is missing: run go generate ./internal/sdk", name)
			continue
		}
		if diff := cmp.Diff(string(content), string(have)); diff != "" {
			t.Errorf("%s is stale, run go generate ./internal/sdk (-generated +committed):\n%s", name, diff)
		}
	}
	err = filepath.WalkDir(filepath.Join(root, "llmhost"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if _, ok := want[filepath.ToSlash(name)]; !ok {
			t.Errorf("%s is not generated any more: run go generate ./internal/sdk", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
