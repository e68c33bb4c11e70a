package provider

import "github.com/llmhost/llmhost/internal/unitfile"

// observedUnitText is the declared text where the host's means the same to systemd, so that
// another spelling isn't drift.
func observedUnitText(declared, seen string) string {
	if unitfile.Same(declared, seen) {
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
