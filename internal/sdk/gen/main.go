// Command gen writes the schema of llmhost's provider and the Go SDK made from it.
//
// It exists so that the argument layer between components and provider is generated, in
// process and offline, and never edited: by hand it would list each property three times.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen FOLDER")
		os.Exit(2)
	}
	if err := write(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write(ctx context.Context, folder string) error {
	files, err := generate(ctx)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(folder, "llmhost")); err != nil {
		return fmt.Errorf("remove the old SDK: %w", err)
	}
	for name, content := range files {
		file := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
