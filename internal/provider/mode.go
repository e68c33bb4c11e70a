package provider

import (
	"fmt"
	"strconv"
)

// parseMode reads permission bits from octal digits. Check has seen them before.
func parseMode(s string) (uint32, error) {
	m, err := strconv.ParseUint(s, 8, 32)
	if err != nil || m > 0o7777 {
		return 0, fmt.Errorf("mode %q isn't four octal digits", s)
	}
	return uint32(m), nil
}

func formatMode(m uint32) string { return fmt.Sprintf("%04o", m) }
