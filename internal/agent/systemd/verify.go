package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// toolTimeout bounds a run of one of systemd's own programs.
const toolTimeout = 30 * time.Second

// Verify has systemd read a unit and its drop-ins before they are installed. What systemd would
// ignore is an error: an ignored line is a missing part of a sandbox. Whether the program to
// run exists is not asked, since it is looked for outside the unit's root directory. Where
// systemd-analyze isn't installed, nothing is verified. temporary is a folder to work in.
func Verify(ctx context.Context, temporary, name, content string, dropIns map[string]string) error {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return nil
	}
	dir, err := os.MkdirTemp(temporary, "verify-")
	if err != nil {
		return fault.OfPath("write", temporary, err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return fault.OfPath("write", file, err)
	}
	for p, text := range dropIns {
		dropIn := filepath.Join(dir, name+".d", filepath.Base(p))
		if err := os.MkdirAll(filepath.Dir(dropIn), 0o700); err != nil {
			return fault.OfPath("write", dropIn, err)
		}
		if err := os.WriteFile(dropIn, []byte(text), 0o600); err != nil {
			return fault.OfPath("write", dropIn, err)
		}
	}
	output, failed, err := analyze(ctx, tool, dir, "--recursive-errors=no", file)
	if err == nil && failed && strings.Contains(output, "unrecognized option") { // before systemd 250
		output, failed, err = analyze(ctx, tool, dir, file)
	}
	if err != nil {
		return err
	}
	if complaints := complaintsOf(output, dir, name, failed); len(complaints) > 0 {
		return fault.New(agentpb.Reason_INVALID, "systemd would not take %s as it is: %s", name, strings.Join(complaints, "; ")).
			With("unit", name)
	}
	return nil
}

func analyze(ctx context.Context, tool, dir string, args ...string) (output string, failed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, append([]string{"verify", "--man=no"}, args...)...)
	// The colon at the end appends the usual folders, for the units that this one names.
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":", "LC_ALL=C", "SYSTEMD_LOG_COLOR=0", "SYSTEMD_PAGER=")
	said, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		return "", false, fmt.Errorf("verify the unit: %w", err)
	}
	return string(said), err != nil, nil
}

// complaintsOf are the lines of systemd-analyze that are about the unit and matter.
func complaintsOf(output, dir, name string, failed bool) []string {
	var complaints []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		about := strings.Contains(line, dir+"/") || strings.HasPrefix(line, name) || strings.Contains(line, "Unit "+name)
		ignored := strings.Contains(line, dir+"/") && strings.Contains(line, "ignoring")
		if !about || !failed && !ignored || strings.Contains(line, "is not executable") {
			continue
		}
		complaints = append(complaints, strings.ReplaceAll(line, dir+"/", ""))
	}
	return complaints
}
