package systemd

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
)

// InstalledVersion is the number of the systemd that is installed, and 0 where there is none.
func InstalledVersion(ctx context.Context) uint32 {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "--version").Output()
	if err != nil {
		return 0
	}
	return parseVersion(string(out))
}

// parseVersion reads the first line of systemctl's answer, "systemd 257 (257.8-1)".
func parseVersion(text string) uint32 {
	fields := strings.Fields(text)
	if len(fields) < 2 || fields[0] != "systemd" {
		return 0
	}
	digits := fields[1]
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}
