package agentbin

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// forget makes the next call to For find the agent again.
func forget(t *testing.T) {
	t.Helper()
	clear := func() {
		made.mu.Lock()
		defer made.mu.Unlock()
		made.all = map[string]Binary{}
	}
	clear()
	t.Cleanup(clear)
}

func TestTheAgentOfACheckoutRuns(t *testing.T) {
	forget(t)
	t.Setenv(DirVariable, "")
	b, err := For(t.Context(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(b.Content); hex.EncodeToString(sum[:]) != b.SHA256 {
		t.Error("the digest is not that of the content")
	}
	file := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(file, b.Content, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(file, "--version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "llmhost-agent ") {
		t.Errorf("--version says %q (%v)", out, err)
	}
	again, err := For(t.Context(), runtime.GOARCH)
	if err != nil || &again.Content[0] != &b.Content[0] {
		t.Errorf("it was made twice (%v)", err)
	}
}

func TestAFolderOfAgentsWins(t *testing.T) {
	forget(t)
	dir := t.TempDir()
	t.Setenv(DirVariable, dir)
	if _, err := For(t.Context(), "arm64"); err == nil || !strings.Contains(err.Error(), DirVariable) {
		t.Errorf("an empty folder: got %v, want an error that names %s", err, DirVariable)
	}
	if err := os.WriteFile(filepath.Join(dir, FileName("arm64")), []byte("agent"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := For(t.Context(), "arm64"); err != nil || string(b.Content) != "agent" {
		t.Errorf("got %q (%v): a failure was remembered, or the folder was not asked", b.Content, err)
	}
}

func TestOtherArchitectures(t *testing.T) {
	if _, err := For(t.Context(), "riscv64"); err == nil || !strings.Contains(err.Error(), "amd64 and arm64") {
		t.Errorf("got %v, want the architectures that there are", err)
	}
}
