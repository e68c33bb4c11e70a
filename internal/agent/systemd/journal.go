package systemd

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// JournalLines is how many of a unit's last lines Journal returns.
const JournalLines = 20

// Journal returns what a unit has said last, and nothing where there is no journal: it explains
// an error and isn't worth one.
func Journal(ctx context.Context, name string) []string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "journalctl", "--unit="+name, "--lines="+strconv.Itoa(JournalLines), "--no-pager", "--quiet", "--output=cat")
	return lastLines(cmd)
}

func lastLines(cmd *exec.Cmd) []string {
	said, err := cmd.Output()
	if err != nil {
		return nil
	}
	var lines []string
	for line := range strings.Lines(string(said)) {
		lines = append(lines, strings.ToValidUTF8(strings.TrimRight(line, "\r\n"), "?"))
	}
	return lines
}
