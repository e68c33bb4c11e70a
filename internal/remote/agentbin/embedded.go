//go:build llmhost_release

package agentbin

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"fmt"
	"io"
)

// The files are made by `make release`. They are not in the repository, so the pattern
// fails the build when one is missing, which is what a release wants.
//
//go:embed bin/llmhost-agent-linux-amd64.gz bin/llmhost-agent-linux-arm64.gz
var files embed.FS

func provide(_ context.Context, arch string) ([]byte, error) {
	packed, err := files.ReadFile("bin/" + FileName(arch) + ".gz")
	if err != nil {
		return nil, fmt.Errorf("this build carries no agent for %s: %w", arch, err)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack the agent for %s: %w", arch, err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("unpack the agent for %s: %w", arch, err)
	}
	return content, nil
}
