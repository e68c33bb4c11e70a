package hostfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// nearest returns the candidate that was probably meant, or "" when none is close. Two edits are close (the threshold of
// HCL's own suggestions), but never more than two thirds of a short name.
func nearest(given string, candidates []string) string {
	best, bestDistance := "", 3
	for _, c := range candidates {
		d := levenshtein.Distance(strings.ToLower(given), strings.ToLower(c), nil)
		if d < bestDistance && 3*d <= 2*len(c) {
			best, bestDistance = c, d
		}
	}
	return best
}

// didYouMean returns the sentence for a suggestion, with a space after it, or "" when there is none.
func didYouMean(suggestion string) string {
	if suggestion == "" {
		return ""
	}
	return fmt.Sprintf("Did you mean %q? ", suggestion)
}

// list writes names for a sentence: a, b and c.
func list(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
