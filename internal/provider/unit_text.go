package provider

import "strings"

// sameUnitText tells whether systemd reads two texts alike: whitespace at the end of a line
// and empty lines at the end of the text have no meaning. Whitespace after a backslash does,
// since it keeps the next line from being a continuation.
func sameUnitText(a, b string) bool {
	return a == b || canonicalUnitText(a) == canonicalUnitText(b)
}

func canonicalUnitText(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if trimmed := strings.TrimRight(line, " \t\r"); !strings.HasSuffix(trimmed, `\`) {
			lines[i] = trimmed
		}
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// observedUnitText is the declared text where the host's means the same, so that a
// normalization isn't drift.
func observedUnitText(declared, seen string) string {
	if sameUnitText(declared, seen) {
		return declared
	}
	return seen
}

// observedDropIns does the same for each drop-in.
func observedDropIns(declared, seen map[string]string) map[string]string {
	if len(seen) == 0 {
		return nil
	}
	out := make(map[string]string, len(seen))
	for path, text := range seen {
		out[path] = text
		if want, ok := declared[path]; ok {
			out[path] = observedUnitText(want, text)
		}
	}
	return out
}
