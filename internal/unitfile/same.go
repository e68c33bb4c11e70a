package unitfile

import (
	"maps"
	"slices"
	"strings"
)

// Same tells whether systemd reads two unit files, or two drop-ins, alike. Comments, the order of
// directives that don't depend on each other, the spelling of a value and what a later line
// takes back are no difference; where it isn't known what a directive means, every character of
// its value is.
func Same(a, b string) bool {
	if a == b || trimmed(a) == trimmed(b) {
		return true
	}
	inA, errA := Parse(a)
	inB, errB := Parse(b)
	return errA == nil && errB == nil && maps.EqualFunc(meanings(inA), meanings(inB), slices.Equal)
}

// trimmed is a text without whitespace at the ends of its lines and empty lines at its end, which
// never mean anything. Whitespace after a backslash does, since it keeps the next line from being
// a continuation.
func trimmed(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if t := strings.TrimRight(line, " \t\r"); !strings.HasSuffix(t, `\`) {
			lines[i] = t
		}
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// key is what assignments are collected under.
type key struct{ section, directive string }

// meanings are what is assigned, each directive's in a form that is the same for all spellings.
func meanings(assignments []Assignment) map[key][]string {
	values := map[key][]string{}
	for _, a := range assignments {
		k := key{a.Section, a.Directive}
		value := a.Value
		// The sockets' order is that in which a service gets them, of whatever kind they are.
		if a.Section == "Socket" && strings.HasPrefix(a.Directive, "Listen") {
			k.directive = "Listen"
			if value != "" {
				value = a.Directive + "=" + value
			}
		}
		values[k] = append(values[k], value)
	}
	for k, v := range values {
		m, known := forms[k.directive]
		if !known {
			m = raw
		}
		if values[k] = m(v); values[k] == nil {
			delete(values, k) // as if it weren't there
		}
	}
	return values
}
