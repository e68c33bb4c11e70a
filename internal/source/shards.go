package source

import (
	"fmt"
	"regexp"
	"strconv"
)

var shardName = regexp.MustCompile(`^(.+)-([0-9]{5})-of-([0-9]{5})\.gguf$`)

// shardSet are the names of all shards of the set that a shard belongs to.
func shardSet(name string) (names []string, ok bool) {
	m := shardName.FindStringSubmatch(name)
	if m == nil {
		return nil, false
	}
	n, _ := strconv.Atoi(m[3]) // five digits
	for i := range n {
		names = append(names, fmt.Sprintf("%s-%05d-of-%s.gguf", m[1], i+1, m[3]))
	}
	return names, n > 0
}
