package provider_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"github.com/llmhost/llmhost/internal/provider"
)

// The program is the agent's own, so that here it is the test's.
func TestProgramIsInstalledKeptAndRemoved(t *testing.T) {
	s := newStack(t, realHost(t))
	path := filepath.Join(t.TempDir(), "lib", "llmhost-agent")
	in := resource.PropertyMap{"path": str(path)}
	s.mustUp("Program", "p", in, "create")
	s.mustUp("Program", "p", in, "same")
	if got := s.drift("p"); got != nil {
		t.Errorf("drift of a program that nobody touched: %v", got)
	}
	if got := s.states["p"].inputs["release"]; got != str(provider.Version) {
		t.Errorf("its release is %v", got)
	}
	for what, touch := range map[string]func() error{
		"other bytes": func() error { return os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755) },
		"its mode":    func() error { return os.Chmod(path, 0o777) },
	} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		s.mustUp("Program", "p", with(in, "release", str(what)), "update")
		if err := touch(); err != nil {
			t.Fatal(err)
		}
		if got := s.drift("p"); len(got) != 1 || got[0] != "current" {
			t.Errorf("%s: drift is %v, want current", what, got)
		}
	}
	// Another llmhost installs its own.
	s.mustUp("Program", "p", with(in, "release", str("0.0.1")), "update")
	if got := s.drift("p"); got != nil {
		t.Errorf("drift after an upgrade: %v", got)
	}
	s.destroy("p")
	if _, err := os.Stat(filepath.Dir(path)); !os.IsNotExist(err) {
		t.Errorf("its folder is still there: %v", err)
	}
}
