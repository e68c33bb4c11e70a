package header

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"path"
	"slices"
	"strings"

	ggufparser "github.com/gpustack/gguf-parser-go"

	"github.com/llmhost/llmhost/internal/modelfile"
)

// The format is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, and what a file must
// be beyond that is what llama.cpp's reader (gguf.cpp) refuses. The sizes of tensor types and the
// names of quantizations, which grow with llama.cpp, are gguf-parser-go's. Its reader isn't used:
// it opens paths and addresses itself, and allocates by numbers that the file holds.
const (
	ggufMagic = "GGUF"

	maxPairs     = 1 << 16   // of metadata; large models have some dozens
	maxTensors   = 1 << 18   // the largest models, with each expert by itself, have some 50,000
	maxKey       = 1<<16 - 1 // bytes, by the format
	maxTensor    = 1 << 10   // bytes of a tensor's name; the format says 64
	maxHeader    = 256 << 20 // bytes; vocabularies of 256,000 tokens take 10 MB
	maxText      = 1 << 20   // bytes of the few texts that are kept
	maxAlignment = 1 << 20
	maxDims      = 4 // GGML_MAX_DIMS

	defaultAlignment = 32

	minPair   = 8 + 4 + 1     // bytes of a pair: the key's length, the type, a value
	minTensor = 8 + 4 + 4 + 8 // bytes of a tensor: the name's length, dimensions, type, offset
)

// The types of metadata values.
const (
	ggufUint8 = iota
	ggufInt8
	ggufUint16
	ggufInt16
	ggufUint32
	ggufInt32
	ggufFloat32
	ggufBool
	ggufString
	ggufArray
	ggufUint64
	ggufInt64
	ggufFloat64
)

var ggufSizes = map[uint32]uint64{
	ggufUint8: 1, ggufInt8: 1, ggufBool: 1,
	ggufUint16: 2, ggufInt16: 2,
	ggufUint32: 4, ggufInt32: 4, ggufFloat32: 4,
	ggufUint64: 8, ggufInt64: 8, ggufFloat64: 8,
}

// gguf is what is kept of one file's header.
type gguf struct {
	texts    map[string]string // those of wanted keys
	numbers  map[string]uint64
	sums     map[string]uint64 // of wanted arrays
	tensors  int
	elements uint64
	byType   map[ggufparser.GGMLType]uint64 // bytes of tensors
	unknown  []ggufparser.GGMLType          // types that aren't in the table
}

// wanted reports whether a key's value is kept.
func wanted(key string) bool {
	switch key {
	case "general.architecture", "general.type", "general.name", "general.file_type", "general.alignment", "adapter.type",
		"split.no", "split.count", "split.tensors.count":
		return true
	}
	for _, suffix := range shapeSuffixes {
		if strings.HasSuffix(key, suffix) {
			return true
		}
	}
	return strings.HasSuffix(key, ".context_length")
}

// shapeSuffixes end the keys, after the architecture's name, that say how much memory a model needs.
var shapeSuffixes = []string{".block_count", ".embedding_length", ".vocab_size",
	".attention.head_count", ".attention.head_count_kv", ".attention.key_length", ".attention.value_length"}

const (
	tokensKey = "tokenizer.ggml.tokens" // the vocabulary, of which only the length is kept
	maxBlocks = 100_000                 // of a model whose blocks differ, each with a number
)

func notGGUF(start []byte) *Error {
	text := strings.ToLower(strings.TrimSpace(string(start)))
	switch {
	case len(start) == 0:
		return wrong("is empty")
	case strings.HasPrefix(text, "<!doctype") || strings.HasPrefix(text, "<html"):
		return wrong("is a web page and no GGUF file").hint("It was probably downloaded without logging in: get it again")
	case strings.HasPrefix(text, "version ht"):
		return wrong("is a Git LFS pointer and not the file itself").hint("Run `git lfs pull` in its repository")
	}
	return wrong("is no GGUF file").hint("It must start with the letters GGUF")
}

// readGGUF reads one header and compares its tensors with the file's size. Tensors of all shards
// share their names.
func readGGUF(s *stream, tensorNames map[[32]byte]bool) (*gguf, error) {
	g := &gguf{texts: map[string]string{}, numbers: map[string]uint64{}, sums: map[string]uint64{}, byType: map[ggufparser.GGMLType]uint64{}}
	start, err := s.bytes(min(s.size, 8))
	if err != nil {
		return nil, err
	}
	if len(start) < 8 || string(start[:4]) != ggufMagic {
		return nil, notGGUF(start)
	}
	switch version := binary.LittleEndian.Uint32(start[4:]); {
	case version == 2 || version == 3:
	case version == 1:
		return nil, wrong("is GGUF version 1, which llama.cpp no longer reads").hint("Get a newer file of this model")
	case version&0xffff == 0:
		return nil, wrong("is GGUF for big-endian machines").hint("Get the ordinary file of this model")
	default:
		return nil, wrong("is GGUF version %d, which isn't known: versions 2 and 3 are", version)
	}
	tensors, err := s.count("tensors", maxTensors, minTensor)
	if err != nil {
		return nil, err
	}
	pairs, err := s.count("metadata values", maxPairs, minPair)
	if err != nil {
		return nil, err
	}
	if err := g.readPairs(s, pairs); err != nil {
		return nil, err
	}
	if err := g.readTensors(s, tensors, tensorNames); err != nil {
		return nil, err
	}
	return g, nil
}

func (s *stream) uint32() (uint32, error) {
	var b [4]byte
	err := s.fill(b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

func (s *stream) uint64() (uint64, error) {
	var b [8]byte
	err := s.fill(b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}

// count reads how many of something follow, each of at least some bytes.
func (s *stream) count(what string, most, least uint64) (uint64, error) {
	n, err := s.uint64()
	switch {
	case err != nil:
		return 0, err
	case n > most:
		return 0, wrong("claims to have %d %s, and at most %d are believed", n, what, most)
	}
	return n, s.fits(n * least)
}

// text reads a text of at most so many bytes.
func (s *stream) text(what string, most uint64) ([]byte, error) {
	n, err := s.uint64()
	switch {
	case err != nil:
		return nil, err
	case n > most:
		return nil, wrong("has %s of %d bytes, and at most %d are believed", what, n, most)
	}
	return s.bytes(n)
}

// within ends a header that is absurdly long.
func (s *stream) within(n uint64) error {
	if s.read > maxHeader || n > maxHeader-s.read {
		return wrong("has a header of more than %d MiB", maxHeader>>20)
	}
	return s.skip(n)
}

func (g *gguf) readPairs(s *stream, n uint64) error {
	seen := map[[32]byte]bool{} // digests, so that long keys don't fill the memory
	for range n {
		key, err := s.text("a key", maxKey)
		if err != nil {
			return err
		}
		digest := sha256.Sum256(key)
		if seen[digest] {
			return wrong("has the key %q twice", printable(string(key)))
		}
		seen[digest] = true
		kind, err := s.uint32()
		if err != nil {
			return err
		}
		if err := g.readValue(s, string(key), kind); err != nil {
			return err
		}
	}
	return nil
}

func (g *gguf) readValue(s *stream, key string, kind uint32) error {
	switch kind {
	case ggufString:
		if wanted(key) {
			text, err := s.text(fmt.Sprintf("a text %q", key), maxText)
			g.texts[key] = string(text)
			return err
		}
		return s.skipText()
	case ggufArray:
		return g.readArray(s, key)
	}
	size, ok := ggufSizes[kind]
	if !ok {
		return wrong("has the key %q of the unknown type %d", printable(key), kind)
	}
	if !wanted(key) {
		return s.within(size)
	}
	b, err := s.bytes(size)
	if err != nil {
		return err
	}
	if kind == ggufFloat32 || kind == ggufFloat64 {
		return nil // no wanted key is one
	}
	var wide [8]byte
	copy(wide[:], b)
	g.numbers[key] = binary.LittleEndian.Uint64(wide[:])
	return nil
}

func (s *stream) skipText() error {
	n, err := s.uint64()
	if err != nil {
		return err
	}
	return s.within(n)
}

func (g *gguf) readArray(s *stream, key string) error {
	kind, err := s.uint32()
	if err != nil {
		return err
	}
	n, err := s.uint64()
	if err != nil {
		return err
	}
	if kind == ggufString {
		if n > maxHeader/8 {
			return wrong("claims to have %d texts under the key %q", n, printable(key))
		}
		if key == tokensKey {
			g.numbers[key] = n
		}
		if err := s.fits(n * 8); err != nil {
			return err
		}
		for range n {
			if err := s.skipText(); err != nil {
				return err
			}
		}
		return nil
	}
	size, ok := ggufSizes[kind]
	if !ok { // llama.cpp reads no arrays of arrays
		return wrong("has the key %q, an array of the unknown type %d", printable(key), kind)
	}
	if n > maxHeader/size {
		return wrong("claims to have %d numbers under the key %q", n, printable(key))
	}
	if size == 4 && kind != ggufFloat32 && n > 0 && n <= maxBlocks && strings.HasSuffix(key, ".attention.head_count_kv") {
		return g.readHeads(s, key, n)
	}
	return s.within(n * size)
}

// readHeads keeps the sum of an array of small numbers, one for each block.
func (g *gguf) readHeads(s *stream, key string, n uint64) error {
	b, err := s.bytes(4 * n)
	if err != nil {
		return err
	}
	sum := uint64(0)
	for i := range n {
		if heads := binary.LittleEndian.Uint32(b[4*i:]); heads < maxHeads { // a negative one is huge
			sum += uint64(heads)
		}
	}
	g.sums[key] = sum
	return nil
}

// maxHeads is more than any block has.
const maxHeads = 1 << 16

// ggufTensor is one entry of the directory of tensors.
type ggufTensor struct {
	name   string
	kind   ggufparser.GGMLType
	dims   []uint64
	offset uint64
}

func (s *stream) tensor() (t ggufTensor, err error) {
	name, err := s.text("a tensor's name", maxTensor)
	if err != nil {
		return t, err
	}
	t.name = string(name)
	dims, err := s.uint32()
	if err != nil {
		return t, err
	}
	if dims > maxDims {
		return t, wrong("has the tensor %q of %d dimensions, and there are at most %d", printable(t.name), dims, maxDims)
	}
	for range dims {
		n, err := s.uint64()
		if err != nil {
			return t, err
		}
		t.dims = append(t.dims, n)
	}
	kind, err := s.uint32()
	if err != nil {
		return t, err
	}
	t.kind = ggufparser.GGMLType(kind)
	t.offset, err = s.uint64()
	return t, err
}

// size is how many elements and bytes a tensor has; known is false if its type's size isn't.
func (t *ggufTensor) size() (elements, size uint64, known bool, err error) {
	elements = 1
	for _, n := range t.dims {
		high, low := bits.Mul64(elements, n)
		if high != 0 || low > math.MaxInt64 {
			return 0, 0, false, wrong("has the tensor %q of an impossible size", printable(t.name))
		}
		elements = low
	}
	trait, known := t.kind.Trait()
	if !known {
		return elements, 0, false, nil
	}
	if trait.BlockSize == 0 {
		return 0, 0, false, wrong("has the tensor %q of the type %s, which llama.cpp no longer reads", printable(t.name), t.kind)
	}
	row := uint64(1) // of a single number, which has no dimensions
	if len(t.dims) > 0 {
		row = t.dims[0]
	}
	if row%trait.BlockSize != 0 {
		return 0, 0, false, wrong("has the tensor %q, whose rows of %d elements aren't whole blocks of %d", printable(t.name), row, trait.BlockSize)
	}
	high, size := bits.Mul64(elements/trait.BlockSize, trait.TypeSize)
	if high != 0 || size > math.MaxInt64 {
		return 0, 0, false, wrong("has the tensor %q of an impossible size", printable(t.name))
	}
	return elements, size, true, nil
}

// extent is where a tensor's bytes are, from the start of all of them.
type extent struct{ start, size uint64 }

func (g *gguf) readTensors(s *stream, n uint64, names map[[32]byte]bool) error {
	alignment := uint64(defaultAlignment)
	if v, ok := g.numbers["general.alignment"]; ok {
		alignment = v
	}
	if alignment == 0 || alignment > maxAlignment || bits.OnesCount64(alignment) != 1 {
		return wrong("has the alignment %d, which is no power of two up to %d", alignment, maxAlignment)
	}
	var extents []extent
	last, end := "", uint64(0)
	for range n {
		if s.read > maxHeader {
			return wrong("has a header of more than %d MiB", maxHeader>>20)
		}
		t, err := s.tensor()
		if err != nil {
			return err
		}
		digest := sha256.Sum256([]byte(t.name))
		if names[digest] {
			return wrong("has the tensor %q twice", printable(t.name))
		}
		names[digest] = true
		elements, size, known, err := t.size()
		if err != nil {
			return err
		}
		if t.offset%alignment != 0 {
			return wrong("has the tensor %q at %d, which isn't a multiple of %d", printable(t.name), t.offset, alignment)
		}
		if t.offset > math.MaxInt64-size {
			return wrong("has the tensor %q beyond any file's end", printable(t.name))
		}
		if !known && !slices.Contains(g.unknown, t.kind) {
			g.unknown = append(g.unknown, t.kind)
		}
		if t.offset+size >= end {
			last, end = t.name, t.offset+size
		}
		g.tensors++
		g.elements += elements
		g.byType[t.kind] += size
		extents = append(extents, extent{t.offset, size})
	}
	start := (s.read + alignment - 1) / alignment * alignment
	if n > 0 && (start > s.size || end > s.size-start) {
		return wrong("is truncated: the tensor %q ends at byte %d, and the file has %d", printable(last), start+end, s.size).hint("Get it again")
	}
	slices.SortFunc(extents, func(a, b extent) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.size, b.size)) })
	for i := 1; i < len(extents); i++ {
		if before := extents[i-1]; before.start+before.size > extents[i].start {
			return wrong("has tensors whose bytes overlap at %d", start+extents[i].start)
		}
	}
	return nil
}

// checkGGUFs reads all GGUF files of a model: one, the shards of a set, or a repository's choice of
// several models, of which the largest is described.
func (c *checker) checkGGUFs(files []int) error {
	c.d.Format = "GGUF"
	sets, order := map[string][]int{}, []string{}
	for _, i := range files { // sorted by name, so that shards are in their order
		key := c.src.Files()[i].Name
		if shard, ok := modelfile.ParseShard(path.Base(key)); ok {
			key = path.Join(path.Dir(key), shard.First().Name())
		}
		if sets[key] == nil {
			order = append(order, key)
		}
		sets[key] = append(sets[key], i)
	}
	var largest *gguf
	for _, key := range order {
		g, err := c.readSet(sets[key])
		if err != nil {
			return err
		}
		if largest == nil || g.bytes() > largest.bytes() {
			largest = g
		}
	}
	return largest.describe(c)
}

// readSet reads a file that isn't split, or all shards of a set, and returns what they have together.
func (c *checker) readSet(files []int) (*gguf, error) {
	first := c.src.Files()[files[0]].Name
	shard, split := modelfile.ParseShard(path.Base(first))
	if split {
		if lacking := c.missingShards(path.Dir(first), shard); len(lacking) > 0 {
			return nil, missing(lacking)
		}
	}
	var whole *gguf
	names := map[[32]byte]bool{}
	for n, i := range files {
		g, err := c.readGGUFFile(i, names)
		if err == nil {
			err = g.checkSplit(n, len(files), split)
		}
		if err != nil {
			return nil, named(c.src.Files()[i].Name, err)
		}
		if whole == nil {
			whole = g
			continue
		}
		whole.add(g)
	}
	switch promised, ok := whole.numbers["split.tensors.count"]; {
	case whole.texts["general.architecture"] == "":
		return nil, named(first, wrong("names no architecture (general.architecture)"))
	case split && ok && promised != uint64(whole.tensors):
		return nil, named(first, wrong("promises %d tensors in all shards, and they have %d", promised, whole.tensors).hint("The shards are of different models"))
	case whole.tensors == 0:
		return nil, named(first, wrong("has no tensors"))
	}
	return whole, nil
}

func (c *checker) readGGUFFile(i int, names map[[32]byte]bool) (*gguf, error) {
	s, closer, err := c.open(i)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	return readGGUF(s, names)
}

// checkSplit compares what a file says of its place in a set with its name.
func (g *gguf) checkSplit(n, count int, split bool) error {
	says, ok := g.numbers["split.count"]
	switch {
	case !ok && count == 1, !split && says <= 1:
		return nil
	case !split:
		return wrong("is shard %d of %d under another name", g.numbers["split.no"]+1, says).
			hint("llama.cpp finds the others by the name: give it back its own, which ends in -%05d-of-%05d.gguf", g.numbers["split.no"]+1, says)
	case !ok:
		return wrong("has the name of a shard and is none")
	case says != uint64(count) || g.numbers["split.no"] != uint64(n):
		return wrong("says that it is shard %d of %d, and its name says otherwise", g.numbers["split.no"]+1, says)
	}
	return nil
}

// add takes in a further shard.
func (g *gguf) add(shard *gguf) {
	g.tensors += shard.tensors
	g.elements += shard.elements
	for kind, size := range shard.byType {
		g.byType[kind] += size
	}
	g.unknown = append(g.unknown, shard.unknown...)
}

func (g *gguf) bytes() (sum uint64) {
	for _, size := range g.byType {
		sum += size
	}
	return sum
}

// quantization is the name that the file's author gave, or else the type of most bytes.
func (g *gguf) quantization() string {
	if n, ok := g.numbers["general.file_type"]; ok && n <= math.MaxUint32 {
		if name, known := strings.CutPrefix(ggufparser.GGUFFileType(n).String(), "MOSTLY_"); known {
			return name
		}
	}
	best, most := "", uint64(0)
	for kind, size := range g.byType {
		if name := kind.String(); size > most || size == most && name < best {
			best, most = name, size
		}
	}
	return best
}

// describe fills the description in, and compares the file with what it is for.
func (g *gguf) describe(c *checker) error {
	architecture := g.texts["general.architecture"]
	c.d.Name = printable(g.texts["general.name"])
	c.d.Architecture = printable(architecture)
	c.d.Quantization = g.quantization()
	c.d.Parameters = g.elements
	c.d.Context = g.numbers[architecture+".context_length"]
	g.describeShape(&c.d, architecture)
	for _, kind := range g.unknown {
		c.warn("the tensor type %d is newer than this llmhost, so its tensors' sizes aren't checked", uint32(kind))
	}
	role := g.role()
	if want := cmp.Or(c.options.Role, Model); role != want && !(role == Model && want == Draft) {
		return wrong("is %s and not %s", article(role), article(want)).hint("%s", wrongRole(role, want))
	}
	if role == Model && !slices.Contains(architectures, architecture) {
		c.warn("the architecture %s isn't one that llama.cpp had when this llmhost was made, so a server may not start with it", c.d.Architecture)
	}
	return nil
}

// describeShape fills in what decides how much memory the model needs. The KV cache is llama.cpp's (llama-kv-cache.cpp): keys and
// values of each block, of as many heads as it has for them. Numbers that no model has are taken for unknown.
func (g *gguf) describeShape(d *Description, architecture string) {
	number := func(key string, most uint64) uint64 {
		if n := g.numbers[architecture+key]; n <= most {
			return n
		}
		return 0
	}
	d.Weights = g.bytes()
	d.Layers = number(".block_count", maxBlocks)
	d.Width = number(".embedding_length", 1<<20)
	if d.Vocabulary = g.numbers[tokensKey]; d.Vocabulary == 0 {
		d.Vocabulary = number(".vocab_size", 1<<30)
	}
	heads := number(".attention.head_count", maxHeads)
	shared, differ := g.sums[architecture+".attention.head_count_kv"]
	if !differ {
		each, written := g.numbers[architecture+".attention.head_count_kv"]
		if !written || each > maxHeads {
			each = heads
		}
		shared = each * d.Layers
	}
	keys, values := number(".attention.key_length", 1<<20), number(".attention.value_length", 1<<20)
	if heads > 0 && keys == 0 {
		keys = d.Width / heads
	}
	if heads > 0 && values == 0 {
		values = d.Width / heads
	}
	const each = 2 // bytes of a number, by default
	d.KVPerToken = shared * (keys + values) * each
}

// role is what the file says that it is.
func (g *gguf) role() Role {
	switch {
	case g.texts["general.type"] == "adapter" || g.texts["adapter.type"] != "":
		return LoRA
	case g.texts["general.type"] == "mmproj" || g.texts["general.architecture"] == "clip":
		return MMProj
	}
	return Model
}

func article(r Role) string {
	switch r {
	case LoRA:
		return "an adapter (lora)"
	case MMProj:
		return "a projector (mmproj)"
	}
	return "a model"
}

func wrongRole(is, want Role) string {
	if want == Model {
		return fmt.Sprintf("Declare it as a companion of its model: companion \"NAME\" { kind = %q … }", is)
	}
	if is == Model {
		return "A model has a block of its own: model \"NAME\" { … }"
	}
	return fmt.Sprintf("Write kind = %q", is)
}
