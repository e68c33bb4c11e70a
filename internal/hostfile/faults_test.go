package hostfile

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files and docs/hostfile.md anew")

// golden compares a text with a file, or writes it under -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with: go test ./internal/hostfile -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what comes out now (-want +got); if that is meant: go test ./internal/hostfile -update\n%s", file, diff)
	}
}

// Every faulty file is reported with all of its faults at once, each with its place and its way out.
func TestFaults(t *testing.T) {
	paths, err := Paths("testdata/faults")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no faulty host files: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			host, diags := Load(path)
			if host != nil || !diags.HasErrors() {
				t.Fatal("a faulty host file was accepted")
			}
			var b strings.Builder
			if err := WriteDiagnostics(&b, diags, nil, false, 100); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, Extension)+".golden", b.String())
		})
	}
}
