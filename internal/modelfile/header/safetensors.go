package header

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The format is https://github.com/huggingface/safetensors#format.
const (
	maxSafetensorsHeader = 100_000_000 // bytes, by the format
	maxEntry             = 4 << 10     // bytes of JSON for one tensor

	indexSuffix = ".safetensors.index.json"
	maxIndex    = 64 << 20 // bytes; the largest known have 10 MB
	maxConfig   = 4 << 20  // bytes
)

// dtypes are the bits of an element.
var dtypes = map[string]uint64{
	"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
	"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
	"I16": 16, "U16": 16, "F16": 16, "BF16": 16,
	"I32": 32, "U32": 32, "F32": 32,
	"I64": 64, "U64": 64, "F64": 64, "C64": 64,
}

// isSafetensors recognizes a header's length with the brace that follows it.
func isSafetensors(start []byte) bool {
	return len(start) > 8 && binary.LittleEndian.Uint64(start) <= maxSafetensorsHeader && start[8] == '{'
}

// safetensors is what is kept of the headers.
type safetensors struct {
	elements uint64
	byType   map[string]uint64 // bytes of tensors
	unknown  []string          // types that aren't in the table
}

type safetensor struct {
	Dtype   string    `json:"dtype"`
	Shape   []uint64  `json:"shape"`
	Offsets [2]uint64 `json:"data_offsets"`
}

// read takes in one file's header.
func (t *safetensors) read(s *stream) error {
	n, err := s.uint64()
	switch {
	case err != nil:
		return err
	case n > maxSafetensorsHeader:
		return wrong("claims to have a header of %d bytes, and the format allows %d", n, maxSafetensorsHeader).hint("Is it a safetensors file?")
	case n < 2:
		return wrong("has no header")
	}
	if err := s.fits(n); err != nil {
		return err
	}
	data := s.size - s.read - n
	text := io.LimitReader(s.r, int64(n))
	d := json.NewDecoder(text)
	extents, err := t.decode(d)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			return err
		}
		return badJSON(err)
	}
	const padding = 1 << 20 // bytes of it; writers align to 8
	rest, err := io.ReadAll(io.LimitReader(io.MultiReader(d.Buffered(), text), padding))
	if err != nil {
		return err
	}
	if len(rest) == padding || len(bytes.Trim(rest, " \n\r\t\x00")) > 0 {
		return wrong("has something behind its header's JSON")
	}
	return cover(extents, data)
}

// badJSON makes a fault of the text an *Error and leaves a fault of reading as it is.
func badJSON(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return wrong("has a header that isn't as the format says: %s", printable(err.Error()))
	}
	return err
}

func (t *safetensors) decode(d *json.Decoder) ([]extent, error) {
	if err := delimiter(d, '{'); err != nil {
		return nil, err
	}
	var extents []extent
	names := map[string]bool{} // no more than the header's own length
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string) // a key is always one
		if names[name] {
			return nil, wrong("has the tensor %q twice", printable(name))
		}
		names[name] = true
		if len(names) > maxTensors {
			return nil, wrong("has more than %d tensors", maxTensors)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, err
		}
		if name == "__metadata__" {
			continue // texts for people
		}
		if len(raw) > maxEntry {
			return nil, wrong("has the tensor %q, described in %d bytes", printable(name), len(raw))
		}
		var tensor safetensor
		if err := json.Unmarshal(raw, &tensor); err != nil {
			return nil, err
		}
		e, err := t.add(name, tensor)
		if err != nil {
			return nil, err
		}
		extents = append(extents, e)
	}
	return extents, delimiter(d, '}')
}

func delimiter(d *json.Decoder, want json.Delim) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	if token != want {
		return wrong("has a header that isn't a JSON object")
	}
	return nil
}

// add compares one tensor's shape with its place.
func (t *safetensors) add(name string, tensor safetensor) (extent, error) {
	begin, end := tensor.Offsets[0], tensor.Offsets[1]
	if begin > end || end > math.MaxInt64 {
		return extent{}, wrong("has the tensor %q from %d to %d", printable(name), begin, end)
	}
	elements := uint64(1)
	for _, n := range tensor.Shape {
		high, low := bits.Mul64(elements, n)
		if high != 0 || low > math.MaxInt64 {
			return extent{}, wrong("has the tensor %q of an impossible size", printable(name))
		}
		elements = low
	}
	size := end - begin
	t.elements += elements
	t.byType[tensor.Dtype] += size
	width, known := dtypes[tensor.Dtype]
	if !known {
		if len(t.unknown) < 10 && !slices.Contains(t.unknown, tensor.Dtype) {
			t.unknown = append(t.unknown, tensor.Dtype)
		}
		return extent{begin, size}, nil
	}
	if high, low := bits.Mul64(elements, width); high != 0 || low%8 != 0 || low/8 != size {
		return extent{}, wrong("has the tensor %q of %d bytes, and its shape and type %s need other", printable(name), size, tensor.Dtype)
	}
	return extent{begin, size}, nil
}

// cover makes sure that tensors cover the data without gaps and overlaps, which the format demands.
func cover(extents []extent, data uint64) error {
	slices.SortFunc(extents, func(a, b extent) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.size, b.size)) })
	at := uint64(0)
	for _, e := range extents {
		switch {
		case e.start < at:
			return wrong("has tensors whose bytes overlap at %d", e.start)
		case e.start > at:
			return wrong("has bytes at %d that no tensor uses", at)
		}
		at += e.size // at most an int64, as every end is
	}
	switch {
	case at > data:
		return wrong("is truncated: its tensors have %d bytes, and the file has %d", at, data).hint("Get it again")
	case at < data:
		return wrong("has %d bytes behind its last tensor", data-at)
	}
	return nil
}

// checkSafetensors reads all safetensors files of a model with their index and configuration.
func (c *checker) checkSafetensors(files []int) error {
	if c.options.Role != Model {
		return wrong("is safetensors, and a companion is a GGUF file")
	}
	c.d.Format = "safetensors"
	if err := c.checkIndexes(); err != nil {
		return err
	}
	t := safetensors{byType: map[string]uint64{}}
	for _, i := range files {
		if err := c.checkNumbered(c.src.Files()[i].Name); err != nil {
			return err
		}
		s, closer, err := c.open(i)
		if err == nil {
			err = t.read(s)
			closer.Close()
		}
		if err != nil {
			return named(c.src.Files()[i].Name, err)
		}
	}
	c.d.Parameters = t.elements
	for _, size := range t.byType {
		c.d.Weights += size
	}
	most := uint64(0)
	for kind, size := range t.byType {
		if kind = printable(kind); size > most || size == most && kind < c.d.Quantization {
			c.d.Quantization, most = kind, size
		}
	}
	for _, kind := range t.unknown {
		c.warn("the tensor type %s is newer than this llmhost, so its tensors' sizes aren't checked", printable(kind))
	}
	if !c.has("config.json") && c.src.Files()[files[0]].Name != "" {
		c.warn("there is no config.json, which most engines need")
	}
	return c.readConfig()
}

var numbered = regexp.MustCompile(`^(.+)-([0-9]{5})-of-([0-9]{5})\.safetensors$`)

// checkNumbered makes sure that the other files of a numbered set are there.
func (c *checker) checkNumbered(name string) error {
	match := numbered.FindStringSubmatch(path.Base(name))
	if match == nil {
		return nil
	}
	count, _ := strconv.Atoi(match[3]) // five digits
	var lacking []string
	for n := range count {
		other := path.Join(path.Dir(name), fmt.Sprintf("%s-%05d-of-%s.safetensors", match[1], n+1, match[3]))
		if !c.has(other) {
			lacking = append(lacking, other)
		}
	}
	if len(lacking) > 0 {
		return missing(lacking)
	}
	return nil
}

// checkIndexes makes sure that every file that an index names is there.
func (c *checker) checkIndexes() error {
	for i, f := range c.src.Files() {
		if !strings.HasSuffix(f.Name, indexSuffix) {
			continue
		}
		var index struct {
			WeightMap map[string]string `json:"weight_map"`
		}
		if err := c.decode(i, maxIndex, &index); err != nil {
			return named(f.Name, err)
		}
		lacking := map[string]bool{}
		for _, name := range index.WeightMap {
			if path.IsAbs(name) || path.Clean(name) != name || strings.HasPrefix(name, "../") {
				return named(f.Name, wrong("names the file %q, which is outside of the model", printable(name)))
			}
			if name = path.Join(path.Dir(f.Name), name); !c.has(name) {
				lacking[name] = true
			}
		}
		if len(lacking) > 0 {
			names := make([]string, 0, len(lacking))
			for name := range lacking {
				names = append(names, name)
			}
			slices.Sort(names)
			return missing(names)
		}
	}
	return nil
}

// readConfig takes the architecture from the model's configuration.
func (c *checker) readConfig() error {
	i, ok := c.names["config.json"]
	if !ok {
		return nil
	}
	var config struct {
		Architectures []string `json:"architectures"`
		Context       float64  `json:"max_position_embeddings"`
		Quantization  struct {
			Method string `json:"quant_method"`
		} `json:"quantization_config"`
		configShape
		Text configShape `json:"text_config"` // of a model that also sees or hears
	}
	if err := c.decode(i, maxConfig, &config); err != nil {
		return named("config.json", err)
	}
	if len(config.Architectures) > 0 {
		c.d.Architecture = printable(config.Architectures[0])
	}
	if config.Context >= 1 && config.Context < 1<<40 {
		c.d.Context = uint64(config.Context)
	}
	shape := config.configShape
	if shape.Layers == 0 {
		shape = config.Text
	}
	shape.describe(&c.d)
	if method := printable(config.Quantization.Method); method != "" {
		c.d.Quantization = method
	}
	return nil
}

// configShape is what a configuration says of how much memory its model needs.
type configShape struct {
	Layers     float64 `json:"num_hidden_layers"`
	Width      float64 `json:"hidden_size"`
	Heads      float64 `json:"num_attention_heads"`
	KVHeads    float64 `json:"num_key_value_heads"`
	HeadDim    float64 `json:"head_dim"`
	Vocabulary float64 `json:"vocab_size"`
}

// describe fills in what is believable.
func (s configShape) describe(d *Description) {
	number := func(n float64, most uint64) uint64 {
		if n >= 1 && n <= float64(most) {
			return uint64(n)
		}
		return 0
	}
	d.Layers, d.Width, d.Vocabulary = number(s.Layers, maxBlocks), number(s.Width, 1<<20), number(s.Vocabulary, 1<<30)
	heads, dim := number(s.Heads, maxHeads), number(s.HeadDim, 1<<20)
	shared := number(s.KVHeads, maxHeads)
	if shared == 0 {
		shared = heads
	}
	if dim == 0 && heads > 0 {
		dim = d.Width / heads
	}
	const each = 2 // bytes of a number, by default
	d.KVPerToken = d.Layers * shared * 2 * dim * each
}

// decode reads a small JSON file.
func (c *checker) decode(i int, most uint64, v any) error {
	if size := c.src.Files()[i].Size; size > most {
		return wrong("has %d bytes, and at most %d are believed", size, most)
	}
	r, err := c.src.Open(c.ctx, i, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := json.NewDecoder(io.LimitReader(r, int64(most))).Decode(v); err != nil {
		return badJSON(err)
	}
	return nil
}
