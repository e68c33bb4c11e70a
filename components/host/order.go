package host

import (
	"cmp"
	"slices"
	"strings"

	"github.com/llmhost/llmhost/internal/hostfile"
)

// parentsFirst orders directories so that one which holds another comes before it.
func parentsFirst(directories []hostfile.Directory) []hostfile.Directory {
	return slices.SortedStableFunc(slices.Values(directories), func(a, b hostfile.Directory) int {
		return cmp.Compare(strings.Count(a.Path, "/"), strings.Count(b.Path, "/"))
	})
}
