//go:build !llmhost_release

package agentbin

import (
	"runtime"
	"strings"
	"testing"
)

func TestWithoutTheGoCommand(t *testing.T) {
	forget(t)
	t.Setenv(DirVariable, "")
	t.Setenv("PATH", t.TempDir())
	_, err := For(t.Context(), runtime.GOARCH)
	if err == nil || !strings.Contains(err.Error(), "install Go") {
		t.Errorf("got %v, want an error that says what to do", err)
	}
}

func TestOurOwnModuleAlone(t *testing.T) {
	for text, want := range map[string]bool{
		"module github.com/llmhost/llmhost\n\ngo 1.26\n": true,
		"// comment\nmodule github.com/llmhost/llmhost":  true,
		"module github.com/llmhost/llmhost/v2\n":         false,
		"module example.com/other\n":                     false,
		"":                                               false,
	} {
		if got := isOurs([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
