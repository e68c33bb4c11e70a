package drift

import "strings"

// change is one line of a difference: '-' only wanted, '+' only on the host, ' ' context, '~' a gap.
type change struct {
	mark byte
	text string
}

// maxLines bounds the comparison of two texts, which takes time and memory by its square.
const maxLines = 2000

// lineDiff compares two texts by their longest common subsequence of lines, with one line of
// context. Texts that are too long to compare give nil.
func lineDiff(want, have string) []change {
	a, b := splitLines(want), splitLines(have)
	if len(a) > maxLines || len(b) > maxLines {
		return nil
	}
	// common[i][j] is the length of the longest common subsequence of a[i:] and b[j:].
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var all []change
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			all = append(all, change{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			all = append(all, change{'-', a[i]})
			i++
		default:
			all = append(all, change{'+', b[j]})
			j++
		}
	}
	return nearChanges(all)
}

// nearChanges keeps the changed lines and one line around them.
func nearChanges(all []change) []change {
	var kept []change
	gap := false
	for i, c := range all {
		near := c.mark != ' ' || i > 0 && all[i-1].mark != ' ' || i+1 < len(all) && all[i+1].mark != ' '
		if !near {
			gap = true
			continue
		}
		if gap && len(kept) > 0 {
			kept = append(kept, change{mark: '~'})
		}
		gap = false
		kept = append(kept, c)
	}
	return kept
}

// splitLines splits a text into lines. A missing newline at the end is visible, as in diff(1).
func splitLines(s string) []string {
	if s == "" {
		return nil
	}
	lines := strings.Split(s, "\n")
	if last := len(lines) - 1; lines[last] == "" {
		return lines[:last]
	}
	lines[len(lines)-1] += "  (no newline at the end)"
	return lines
}
