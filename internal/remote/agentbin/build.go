//go:build !llmhost_release

package agentbin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

const module = "github.com/llmhost/llmhost"

// provide builds the agent from the checkout. The result lies in the user's cache folder,
// where the go command sees for itself whether it is still up to date; the lock keeps two
// processes from reading what the other one is writing.
func provide(ctx context.Context, arch string) ([]byte, error) {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return nil, fmt.Errorf("the agent has to be built and there is no go command: install Go, use a release of llmhost, or set %s", DirVariable)
	}
	root, err := moduleRoot(ctx, goCommand)
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find a folder to build the agent in: %w", err)
	}
	dir := filepath.Join(cache, "llmhost", "agent")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder to build the agent in: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, FileName(arch)+".lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()

	target := filepath.Join(dir, FileName(arch))
	cmd := exec.CommandContext(ctx, goCommand, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", target, "./cmd/llmhost-agent")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=", "GOWORK=off")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("build the agent for %s in %s: %w\n%s", arch, root, err, strings.TrimSpace(output.String()))
	}
	content, err := os.ReadFile(target)
	if err != nil {
		return nil, fmt.Errorf("read the agent that was built: %w", err)
	}
	return content, nil
}

// lock waits for the file's lock. A crashed holder's lock is gone with its process.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the agent's build: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the agent's build: %w", err)
	}
	return func() { f.Close() }, nil
}

// moduleRoot finds the checkout: where this file was compiled, above the program, above the
// working folder, and last where the go command says that the module is.
func moduleRoot(ctx context.Context, goCommand string) (string, error) {
	var starts []string
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		starts = append(starts, filepath.Dir(file))
	}
	if program, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(program))
	}
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	for _, dir := range starts {
		if root := above(dir); root != "" {
			return root, nil
		}
	}
	out, err := exec.CommandContext(ctx, goCommand, "list", "-m", "-f", "{{.Dir}}", module).Output()
	if dir := strings.TrimSpace(string(out)); err == nil && dir != "" {
		return dir, nil
	}
	return "", errors.New("the agent has to be built and llmhost's source was not found: run inside a checkout, use a release of llmhost, or set " + DirVariable)
}

// above is the nearest folder from dir upwards that holds llmhost's own go.mod.
func above(dir string) string {
	for {
		if raw, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && isOurs(raw) {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

func isOurs(goMod []byte) bool {
	for line := range strings.Lines(string(goMod)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "module "); ok {
			return strings.TrimSpace(name) == module
		}
	}
	return false
}
