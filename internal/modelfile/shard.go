package modelfile

import (
	"fmt"
	"regexp"
	"strconv"
)

// Shard is one file of a GGUF model that was split, as its name says: PREFIX-00001-of-00003.gguf (llama.cpp's
// llama_split_path).
type Shard struct {
	Prefix string // what stands before the numbers
	Number int    // from 1
	Count  int    // of the shards of the set
}

var shardName = regexp.MustCompile(`^(.+)-([0-9]{5})-of-([0-9]{5})\.gguf$`)

// ParseShard reads a file's name. Its ok is false for a file that is no shard.
func ParseShard(name string) (s Shard, ok bool) {
	match := shardName.FindStringSubmatch(name)
	if match == nil {
		return Shard{}, false
	}
	number, _ := strconv.Atoi(match[2]) // five digits
	count, _ := strconv.Atoi(match[3])
	if number < 1 || number > count {
		return Shard{}, false
	}
	return Shard{Prefix: match[1], Number: number, Count: count}, true
}

// Name is the file's name.
func (s Shard) Name() string { return fmt.Sprintf("%s-%05d-of-%05d.gguf", s.Prefix, s.Number, s.Count) }

// First is the shard that a server is started with; it finds the others beside it.
func (s Shard) First() Shard { return Shard{s.Prefix, 1, s.Count} }

// All are the names of the set's files, in order.
func (s Shard) All() []string {
	names := make([]string, s.Count)
	for i := range names {
		names[i] = Shard{s.Prefix, i + 1, s.Count}.Name()
	}
	return names
}
