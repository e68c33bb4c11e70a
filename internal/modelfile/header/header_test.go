package header_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ggufparser "github.com/gpustack/gguf-parser-go"

	"github.com/llmhost/llmhost/internal/modelfile/header"
	"github.com/llmhost/llmhost/internal/testmodel"
	"github.com/llmhost/llmhost/internal/transfer"
)

// inMemory is a model whose files are in memory; a model that is one file has it under "".
type inMemory map[string][]byte

func (m inMemory) Files() []transfer.File {
	var files []transfer.File
	for _, name := range slices.Sorted(maps.Keys(m)) {
		files = append(files, transfer.File{Name: name, Size: uint64(len(m[name]))})
	}
	return files
}

func (m inMemory) Open(_ context.Context, file int, offset uint64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m[m.Files()[file].Name][offset:])), nil
}

func (m inMemory) ID() string   { return "" }
func (m inMemory) Close() error { return nil }

func check(m inMemory, o header.Options) (header.Description, error) {
	return header.Check(context.Background(), m, o)
}

// refused makes sure that the model is refused for the reason.
func refused(t *testing.T, m inMemory, o header.Options, reason string) {
	t.Helper()
	d, err := check(m, o)
	var e *header.Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), reason) {
		t.Errorf("got %+v, %v; want it refused: %s", d, err, reason)
	}
}

func tiny(t testing.TB) []byte {
	var b bytes.Buffer
	if err := testmodel.Write(&b, testmodel.Spec{Name: "tiny"}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGGUFIsDescribed(t *testing.T) {
	data := tiny(t)
	got, err := check(inMemory{"": data}, header.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Parameters < 100_000 {
		t.Errorf("it has %d parameters", got.Parameters)
	}
	want := header.Description{Format: "GGUF", Name: "tiny", Architecture: "llama", Quantization: "F32", Context: 2048,
		Size: uint64(len(data)), Files: 1, Parameters: got.Parameters,
		// 2 blocks, 2 heads of 16 numbers for keys and for values, 2 bytes each.
		Weights: got.Weights, Layers: 2, KVPerToken: 2 * 2 * (16 + 16) * 2, Vocabulary: got.Vocabulary, Width: 64}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// However a download was cut, it is found: within the header, and within the last tensor.
func TestTruncatedGGUFIsRefused(t *testing.T) {
	data := tiny(t)
	for _, n := range []int{0, 1, 4, 8, 20, 24, 100, 1000, len(data) / 2, len(data) - 64} {
		refused(t, inMemory{"": data[:n]}, header.Options{}, "")
	}
	refused(t, inMemory{"": data[:len(data)-4096]}, header.Options{}, "is truncated: the tensor")
	refused(t, inMemory{"": data[:1000]}, header.Options{}, "ends within its header")
}

// built is a GGUF file with exactly these values and tensors.
type built struct {
	version uint32
	pairs   []any // key, type, value by turns
	tensors []any // name, type, offset, dimensions (a slice) by turns
	data    int
}

func (b built) bytes() []byte {
	var w bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			if s, ok := v.(string); ok {
				v = append(binary.LittleEndian.AppendUint64(nil, uint64(len(s))), s...)
			}
			if err := binary.Write(&w, binary.LittleEndian, v); err != nil {
				panic(err)
			}
		}
	}
	w.WriteString("GGUF")
	put(max(b.version, 3), uint64(len(b.tensors)/4), uint64(len(b.pairs)/3))
	put(b.pairs...)
	for i := 0; i < len(b.tensors); i += 4 {
		dims := b.tensors[i+3].([]uint64)
		put(b.tensors[i], uint32(len(dims)), dims, b.tensors[i+1], b.tensors[i+2])
	}
	w.Write(make([]byte, (32-w.Len()%32)%32+b.data))
	return w.Bytes()
}

const (
	u32    = uint32(4)
	text   = uint32(8)
	array  = uint32(9)
	f32    = uint32(0)
	q4k    = uint32(12)
	future = uint32(4000)
)

func arch(name string) []any { return []any{"general.architecture", text, name} }

func oneTensor() []any { return []any{"a", f32, uint64(0), []uint64{8}} }

func TestGGUFFaults(t *testing.T) {
	for reason, b := range map[string]built{
		"version 9":                        {version: 9},
		"names no architecture":            {tensors: oneTensor(), data: 32},
		"has no tensors":                   {pairs: arch("llama")},
		"is truncated":                     {pairs: arch("llama"), tensors: []any{"a", f32, uint64(32), []uint64{8}}, data: 32},
		"the tensor \"a\" twice":           {pairs: arch("llama"), tensors: append(oneTensor(), oneTensor()...), data: 64},
		"overlap at":                       {pairs: arch("llama"), tensors: append(oneTensor(), "b", f32, uint64(0), []uint64{8}), data: 64},
		"isn't a multiple of 32":           {pairs: arch("llama"), tensors: []any{"a", f32, uint64(8), []uint64{8}}, data: 64},
		"is no power of two":               {pairs: append(arch("llama"), "general.alignment", u32, uint32(0)), tensors: oneTensor(), data: 64},
		"aren't whole blocks of 256":       {pairs: arch("llama"), tensors: []any{"a", q4k, uint64(0), []uint64{100}}, data: 64},
		"of an impossible size":            {pairs: arch("llama"), tensors: []any{"a", f32, uint64(0), []uint64{1 << 40, 1 << 40}}, data: 64},
		"beyond any file's end":            {pairs: arch("llama"), tensors: []any{"a", f32, uint64(math.MaxUint64 - 31), []uint64{8}}, data: 64},
		"of 5 dimensions":                  {pairs: arch("llama"), tensors: []any{"a", f32, uint64(0), []uint64{1, 1, 1, 1, 1}}, data: 64},
		"no longer reads":                  {pairs: arch("llama"), tensors: []any{"a", uint32(4), uint64(0), []uint64{32}}, data: 64},
		"\"general.architecture\" twice":   {pairs: append(arch("llama"), arch("llama")...)},
		"of the unknown type 99":           {pairs: []any{"x", uint32(99), uint32(0)}},
		"an array of the unknown type 9":   {pairs: []any{"x", array, []byte("\x09\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00")}},
		"claims to have 281474976710655":   {pairs: []any{"x", array, []byte("\x08\x00\x00\x00\xff\xff\xff\xff\xff\xff\x00\x00")}},
		"claims to have 281474976710656 n": {pairs: []any{"x", array, []byte("\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00")}},
		"is an adapter (lora) and not":     {pairs: append(arch("llama"), "general.type", text, "adapter"), tensors: oneTensor(), data: 32},
		"is a projector (mmproj) and not":  {pairs: arch("clip"), tensors: oneTensor(), data: 32},
		"is shard 1 of 2 under another":    {pairs: append(arch("llama"), "split.count", u32, uint32(2)), tensors: oneTensor(), data: 32},
	} {
		refused(t, inMemory{"": b.bytes()}, header.Options{}, reason)
	}
	whole := built{pairs: arch("llama"), tensors: oneTensor(), data: 32}.bytes()
	if _, err := check(inMemory{"": whole}, header.Options{}); err != nil {
		t.Errorf("the same without a fault: %v", err)
	}
	old := slices.Clone(whole)
	old[4] = 1
	refused(t, inMemory{"": old}, header.Options{}, "GGUF version 1")
	binary.BigEndian.PutUint32(old[4:], 3)
	refused(t, inMemory{"": old}, header.Options{}, "big-endian")
}

// A number by itself is a tensor without dimensions.
func TestScalarsAreTensors(t *testing.T) {
	d, err := check(inMemory{"": built{pairs: arch("llama"), tensors: append(oneTensor(), "b", f32, uint64(32), []uint64{}), data: 64}.bytes()}, header.Options{})
	if err != nil || d.Parameters != 9 {
		t.Errorf("%+v, %v", d, err)
	}
}

// Counts that no file can have are refused by themselves: nothing is allocated for them.
func TestAbsurdCountsCostNothing(t *testing.T) {
	header64 := func(n ...uint64) []byte {
		b := []byte("GGUF\x03\x00\x00\x00")
		for _, v := range n {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		return b
	}
	for reason, data := range map[string][]byte{
		"tensors":                 header64(math.MaxUint64, 1),
		"metadata values":         header64(1, math.MaxUint64, 0, 0, 0, 0, 0),
		"ends within its header":  header64(1<<18, 1),
		"a key of":                header64(0, 1, math.MaxUint64, 0, 0),
		"ends within its header ": header64(0, 1, 4000, 0, 0),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		refused(t, inMemory{"": data}, header.Options{}, strings.TrimSpace(reason))
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
			t.Errorf("%s: %d bytes were allocated", reason, grown)
		}
	}
}

// What llmhost doesn't know isn't refused: the engine on the host may be newer.
func TestWhatIsNewerIsWarnedOf(t *testing.T) {
	d, err := check(inMemory{"": built{pairs: arch("llama9000"), tensors: []any{"a", future, uint64(0), []uint64{8}}, data: 32}.bytes()}, header.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Warnings) != 2 || !strings.Contains(d.Warnings[0], "tensor type 4000") || !strings.Contains(d.Warnings[1], "llama9000") {
		t.Errorf("the warnings are %q", d.Warnings)
	}
}

func TestRolesOfCompanions(t *testing.T) {
	lora := inMemory{"": built{pairs: append(arch("llama"), "general.type", text, "adapter"), tensors: oneTensor(), data: 32}.bytes()}
	mmproj := inMemory{"": built{pairs: append(arch("clip"), "general.type", text, "mmproj"), tensors: oneTensor(), data: 32}.bytes()}
	model := inMemory{"": tiny(t)}
	for role, m := range map[header.Role]inMemory{header.LoRA: lora, header.MMProj: mmproj, header.Draft: model, header.Model: model} {
		if _, err := check(m, header.Options{Role: role}); err != nil {
			t.Errorf("as %q: %v", role, err)
		}
	}
	refused(t, lora, header.Options{Role: header.MMProj}, `Write kind = "lora"`)
	refused(t, model, header.Options{Role: header.LoRA}, "A model has a block of its own")
}

func shards(t *testing.T, count int) inMemory {
	t.Helper()
	dir := t.TempDir()
	names, err := testmodel.WriteShards(dir, "tiny", count, testmodel.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	m := inMemory{}
	for _, name := range names {
		if m[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestShardsAreOneModel(t *testing.T) {
	whole, err := check(inMemory{"": tiny(t)}, header.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := shards(t, 3)
	got, err := check(m, header.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Files != 3 || got.Parameters != whole.Parameters || got.Architecture != "llama" || got.Quantization != whole.Quantization {
		t.Errorf("the shards are %+v, and the whole is %+v", got, whole)
	}

	lacking := maps.Clone(m)
	delete(lacking, "tiny-00002-of-00003.gguf")
	refused(t, lacking, header.Options{}, `isn't complete: it lacks "tiny-00002-of-00003.gguf"`)

	swapped := maps.Clone(m)
	swapped["tiny-00001-of-00003.gguf"], swapped["tiny-00002-of-00003.gguf"] = m["tiny-00002-of-00003.gguf"], m["tiny-00001-of-00003.gguf"]
	refused(t, swapped, header.Options{}, "its name says otherwise")

	foreign := maps.Clone(m)
	foreign["tiny-00003-of-00003.gguf"] = m["tiny-00001-of-00003.gguf"]
	refused(t, foreign, header.Options{}, "twice")

	refused(t, inMemory{"": m["tiny-00001-of-00003.gguf"]}, header.Options{}, "-00001-of-00003.gguf")
	refused(t, inMemory{"a-00001-of-00002.gguf": tiny(t), "a-00002-of-00002.gguf": tiny(t)}, header.Options{}, "is none")
}

func TestPicklesAreRefused(t *testing.T) {
	zip, pickle := []byte("PK\x03\x04 and so on"), []byte("\x80\x02}q\x00.")
	weights := safetensorsFile(t, map[string]any{"a": tensor("F32", []int{2}, 0, 8)}, 8)
	for name, m := range map[string]inMemory{
		"pytorch_model.bin": {"pytorch_model.bin": []byte("x"), "model.safetensors": weights},
		"a.CKPT":            {"a.CKPT": nil},
		"weights":           {"weights": zip},
		"sub/b.safetensors": {"sub/b.safetensors": pickle},
		"b.gguf":            {"b.gguf": zip},
	} {
		refused(t, m, header.Options{}, fmt.Sprintf("%q is a Python pickle", name))
		if name == "pytorch_model.bin" {
			if d, err := check(m, header.Options{AllowPickle: true}); err != nil || d.Format != "safetensors" {
				t.Errorf("allowed: %+v, %v", d, err)
			}
		}
	}
	refused(t, inMemory{"": zip}, header.Options{}, "the model is a Python pickle")
	if d, err := check(inMemory{"": pickle}, header.Options{AllowPickle: true}); err != nil || d.Format != "pickle" {
		t.Errorf("allowed: %+v, %v", d, err)
	}
}

func TestWhatIsNoModel(t *testing.T) {
	for reason, m := range map[string]inMemory{
		"the model is no GGUF file":            {"": []byte("hello")},
		`"a.gguf" is a web page`:               {"a.gguf": []byte("<!DOCTYPE html><html>")},
		`"a.gguf" is a Git LFS pointer`:        {"a.gguf": []byte("version https://git-lfs.github.com/spec/v1\n")},
		`"a.gguf" is empty`:                    {"a.gguf": nil},
		"has no GGUF and no safetensors file":  {"README.md": []byte("# A model")},
		`"a.gguf" is no GGUF file`:             {"a.gguf": []byte("ggml and more of it")},
		"has no GGUF and no safetensors file ": {},
	} {
		refused(t, m, header.Options{}, strings.TrimSpace(reason))
	}
}

func tensor(dtype string, shape []int, begin, end uint64) map[string]any {
	return map[string]any{"dtype": dtype, "shape": shape, "data_offsets": []uint64{begin, end}}
}

func safetensorsFile(t *testing.T, entries map[string]any, data int) []byte {
	t.Helper()
	text, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return rawSafetensors(string(text), data)
}

func rawSafetensors(text string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	return append(append(b, text...), make([]byte, data)...)
}

func TestSafetensorsAreDescribed(t *testing.T) {
	m := inMemory{
		"config.json": []byte(`{"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 8192, "num_hidden_layers": 36, "hidden_size": 2560, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}`),
		"model-00001-of-00002.safetensors": safetensorsFile(t, map[string]any{
			"__metadata__": map[string]string{"format": "pt"},
			"a":            tensor("BF16", []int{2, 4}, 0, 16),
			"b":            tensor("F32", []int{}, 16, 20),
		}, 20),
		"model-00002-of-00002.safetensors": safetensorsFile(t, map[string]any{"c": tensor("BF16", []int{3}, 0, 6)}, 6),
		"model.safetensors.index.json":     []byte(`{"weight_map": {"a": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}}`),
		"modeling_custom.py":               []byte("import os"),
	}
	got, err := check(m, header.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := header.Description{Format: "safetensors", Architecture: "LlamaForCausalLM", Quantization: "BF16", Parameters: 12, Context: 8192, Files: 5, Size: got.Size,
		Weights: 26, Layers: 36, KVPerToken: 36 * 8 * 2 * 128 * 2, Vocabulary: 151936, Width: 2560}
	warnings := got.Warnings
	got.Warnings = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "modeling_custom.py is a program") {
		t.Errorf("the warnings are %q", warnings)
	}

	lacking := maps.Clone(m)
	delete(lacking, "model-00002-of-00002.safetensors")
	refused(t, lacking, header.Options{}, `it lacks "model-00002-of-00002.safetensors"`)
	delete(lacking, "model.safetensors.index.json")
	refused(t, lacking, header.Options{}, `it lacks "model-00002-of-00002.safetensors"`)
	outside := maps.Clone(m)
	outside["model.safetensors.index.json"] = []byte(`{"weight_map": {"a": "../../etc/passwd"}}`)
	refused(t, outside, header.Options{}, "is outside of the model")
	broken := maps.Clone(m)
	broken["config.json"] = []byte(`{"architectures": 1}`)
	refused(t, broken, header.Options{}, `"config.json" has a header that isn't as the format says`)
}

func TestSafetensorsFaults(t *testing.T) {
	for reason, data := range map[string][]byte{
		"claims to have a header of":  binary.LittleEndian.AppendUint64(nil, 100_000_001),
		"has no header":               make([]byte, 8),
		"ends within its header":      rawSafetensors("{}", 0)[:9],
		"isn't a JSON object":         rawSafetensors("[]", 0),
		"isn't as the format says":    rawSafetensors("{]", 0),
		"behind its header's JSON":    rawSafetensors("{} {}", 0),
		"behind its header's JSON ":   rawSafetensors("{}"+strings.Repeat(" ", 100_000)+"{}", 0),
		`the tensor "a" twice`:        rawSafetensors(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2),
		"need other":                  safetensorsFile(t, map[string]any{"a": tensor("F32", []int{2}, 0, 4)}, 4),
		"overlap at 2":                safetensorsFile(t, map[string]any{"a": tensor("U8", []int{4}, 0, 4), "b": tensor("U8", []int{4}, 2, 6)}, 6),
		"bytes at 4 that no tensor":   safetensorsFile(t, map[string]any{"a": tensor("U8", []int{4}, 0, 4), "b": tensor("U8", []int{4}, 8, 12)}, 12),
		"is truncated":                safetensorsFile(t, map[string]any{"a": tensor("U8", []int{4}, 0, 4)}, 3),
		"bytes behind its last":       safetensorsFile(t, map[string]any{"a": tensor("U8", []int{4}, 0, 4)}, 5),
		"from 4 to 0":                 safetensorsFile(t, map[string]any{"a": tensor("U8", []int{4}, 4, 0)}, 4),
		"of an impossible size":       safetensorsFile(t, map[string]any{"a": tensor("U8", []int{1 << 40, 1 << 40}, 0, 4)}, 4),
		"described in":                rawSafetensors(`{"a":{"dtype":"U8","shape":[1`+strings.Repeat(",1", 5000)+`],"data_offsets":[0,1]}}`, 1),
		"isn't as the format says: j": rawSafetensors(`{"a":{"dtype":1}}`, 0),
	} {
		refused(t, inMemory{"a.safetensors": data}, header.Options{}, strings.TrimSpace(reason))
	}
}

// A reader that fails is no verdict on the model.
func TestFaultsOfReadingAreNoVerdict(t *testing.T) {
	_, err := header.Check(context.Background(), failing{inMemory{"": tiny(t)}}, header.Options{})
	var e *header.Error
	if err == nil || errors.As(err, &e) || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

// failing is a model whose files break after some bytes.
type failing struct{ inMemory }

func (f failing) Open(context.Context, int, uint64) (io.ReadCloser, error) {
	start := f.inMemory[""][:100]
	return io.NopCloser(io.MultiReader(bytes.NewReader(start), broken{})), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// Whatever a file holds, checking it neither crashes nor fills the memory.
func fuzz(f *testing.F, name string) {
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d, err := check(inMemory{name: data}, header.Options{})
		runtime.ReadMemStats(&after)
		// A text of up to a MiB is kept; names and directories take a multiple of their own bytes.
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20+64*uint64(len(data)) {
			t.Errorf("%d bytes were allocated for a file of %d", grown, len(data))
		}
		var e *header.Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("a fault of the file is reported as one of reading: %v", err)
		}
		if err == nil && d.Parameters == 0 && d.Format == "GGUF" && d.Architecture == "" {
			t.Errorf("nothing is known of what was accepted: %+v", d)
		}
	})
}

func FuzzGGUF(f *testing.F) {
	f.Add(tiny(f)[:4<<10]) // small seeds, which a mutation can reach every part of
	f.Add(built{pairs: append(arch("llama"), "general.alignment", u32, uint32(64), "x", array, []byte("\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")),
		tensors: append(oneTensor(), "b", q4k, uint64(64), []uint64{256, 2}), data: 512}.bytes())
	fuzz(f, "")
}

func FuzzSafetensors(f *testing.F) {
	f.Add(rawSafetensors(`{"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2,4],"data_offsets":[0,16]}}   `, 16))
	f.Add(rawSafetensors(`{}`, 0))
	fuzz(f, "a.safetensors")
}

// What a well-kept reader of GGUF says of a good file is said here, too.
func TestAnotherReaderAgrees(t *testing.T) {
	for _, spec := range []testmodel.Spec{{}, {Half: true, Layers: 3, Context: 4096}} {
		file := filepath.Join(t.TempDir(), "x.gguf")
		if _, _, err := testmodel.WriteFile(file, spec); err != nil {
			t.Fatal(err)
		}
		theirs, err := ggufparser.ParseGGUFFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := check(inMemory{"": data}, header.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if m, a := theirs.Metadata(), theirs.Architecture(); m.Architecture != ours.Architecture || m.Name != ours.Name ||
			m.FileType.String() != "MOSTLY_"+ours.Quantization || uint64(m.Parameters) != ours.Parameters || a.MaximumContextLength != ours.Context {
			t.Errorf("they say %+v %+v, and here it is %+v", m, a, ours)
		}
	}
}
