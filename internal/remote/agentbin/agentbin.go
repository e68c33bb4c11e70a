// Package agentbin is where the agent's binaries come from.
//
// It exists because the agent must reach a host without anything being downloaded, and yet
// `go test ./...` must work on a fresh clone, where nothing has been built. So a release
// carries its agents inside (build tag llmhost_release), and a checkout builds them when
// they are first needed.
package agentbin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// DirVariable names an environment variable that may point to a folder of agents that were
// built before, named as by FileName. Packagers and tests use it.
const DirVariable = "LLMHOST_AGENT_DIR"

// Architectures are those that the agent is built for, as Go names them.
var Architectures = []string{"amd64", "arm64"}

// Binary is one agent, ready to be sent.
type Binary struct {
	Content []byte
	SHA256  string // of Content, in lower-case hex
}

// FileName is the agent's file name for an architecture.
func FileName(arch string) string { return "llmhost-agent-linux-" + arch }

// For returns the agent for an architecture. It is made at most once in a process.
func For(ctx context.Context, arch string) (Binary, error) {
	if !slices.Contains(Architectures, arch) {
		return Binary{}, fmt.Errorf("there is no agent for %q, only for %s", arch, strings.Join(Architectures, " and "))
	}
	return made.get(arch, func() ([]byte, error) {
		if dir := os.Getenv(DirVariable); dir != "" {
			content, err := os.ReadFile(filepath.Join(dir, FileName(arch)))
			if err != nil {
				return nil, fmt.Errorf("%s is set but holds no agent for %s: %w", DirVariable, arch, err)
			}
			return content, nil
		}
		return provide(ctx, arch)
	})
}

// once remembers what was made; a failure is not remembered.
type once struct {
	mu  sync.Mutex
	all map[string]Binary
}

var made = once{all: map[string]Binary{}}

func (o *once) get(arch string, provide func() ([]byte, error)) (Binary, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if b, ok := o.all[arch]; ok {
		return b, nil
	}
	content, err := provide()
	if err != nil {
		return Binary{}, err
	}
	sum := sha256.Sum256(content)
	b := Binary{Content: content, SHA256: hex.EncodeToString(sum[:])}
	o.all[arch] = b
	return b, nil
}
