package systemd

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// onLine refuses what can't stand on one line of a unit file.
func onLine(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%q isn't UTF-8", s)
	}
	for _, r := range s {
		if unicode.IsControl(r) && r != '\t' {
			return fmt.Errorf("%q holds a line break or another control character", s)
		}
	}
	return nil
}

// escapeSpecifiers keeps systemd from expanding %i, %h and the like.
func escapeSpecifiers(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// escapeVariables keeps systemd from expanding $NAME and ${NAME} in a command.
func escapeVariables(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// quote makes one word of s, by the rules of systemd.syntax(7).
func quote(s string) string {
	// A semicolon of its own would begin another command.
	if s != "" && s != ";" && !strings.ContainsAny(s, " \t\"'\\") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`).Replace(s) + `"`
}
