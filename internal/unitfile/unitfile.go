// Package unitfile reads unit files as systemd does, and tells whether two of them mean the same.
//
// It exists because a host's unit file is edited by people and by systemd's own tools, which
// spell the same thing in other ways: a difference that systemd wouldn't see is no drift, and
// one that it would see must never pass for a matter of spelling. The provider compares with it,
// and the typed units of components/systemd are read back with it.
package unitfile

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/unit"
)

// Assignment is one line of a unit file. An empty value is an assignment too: for many
// directives it takes back the ones before.
type Assignment struct {
	Section, Directive, Value string
}

// Parse reads a unit file or a drop-in, without its comments and with its continued lines joined.
func Parse(text string) ([]Assignment, error) {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return nil, errors.New("it isn't text (UTF-8)")
	}
	lines := unfold(strings.TrimPrefix(text, "\ufeff"))
	if len(lines) == 0 {
		return nil, errors.New("it has no section such as [Service]")
	}
	if lines[0][0] != '[' {
		return nil, fmt.Errorf("%q stands before any section such as [Service]", lines[0])
	}
	for _, line := range lines {
		if name, isSection := strings.CutPrefix(line, "["); isSection && !strings.HasSuffix(name, "]") {
			return nil, fmt.Errorf("the section's name %q has no end", line)
		}
	}
	options, err := unit.DeserializeOptions(strings.NewReader(strings.Join(lines, "\n") + "\n"))
	if err != nil {
		return nil, err
	}
	all := make([]Assignment, len(options))
	for i, o := range options {
		if o.Name == "" {
			return nil, fmt.Errorf("%q has no directive before the =", "="+o.Value)
		}
		all[i] = Assignment{o.Section, o.Name, o.Value}
	}
	return all, nil
}

// unfold returns the lines that systemd sees: without comments and empty ones, a line that ends
// in a backslash joined with the next that is no comment (systemd.syntax(7)).
func unfold(text string) []string {
	var lines []string
	continued := ""
	for line := range strings.SplitSeq(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n") {
		line = strings.TrimLeft(line, whitespace)
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		line = continued + line
		if continues(line) {
			continued = line[:len(line)-1] + " "
			continue
		}
		continued = ""
		if line = strings.Trim(line, whitespace); line != "" {
			lines = append(lines, guard(line))
		}
	}
	if line := strings.Trim(continued, whitespace); line != "" {
		lines = append(lines, guard(line))
	}
	return lines
}

const whitespace = " \t\n\r"

// continues tells whether a line ends in a backslash that no other one escapes.
func continues(line string) bool {
	backslashes := len(line) - len(strings.TrimRight(line, `\`))
	return backslashes%2 == 1
}

// guard keeps go-systemd from joining a line that ends in an escaped backslash with the next.
func guard(line string) string {
	if strings.HasSuffix(line, `\`) {
		return line + " "
	}
	return line
}
