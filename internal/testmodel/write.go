package testmodel

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

// Write writes the model in GGUF format.
func Write(w io.Writer, s Spec) error {
	g, err := build(s)
	if err != nil {
		return err
	}
	if _, err := g.WriteTo(w); err != nil {
		return fmt.Errorf("test model %q: %w", s.Name, err)
	}
	return nil
}

func build(s Spec) (*gguf, error) {
	s = s.withDefaults()
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("test model %q: %w", s.Name, err)
	}
	v := newVocabulary(s.Reply)
	g := &gguf{}
	describe(g, s, v)
	fill(g, s, v)
	return g, nil
}

// WriteShards writes the model to a folder as the given number of files, split, named and
// numbered as llama.cpp does it, and returns their names.
func WriteShards(dir, prefix string, count int, s Spec) ([]string, error) {
	whole, err := build(s)
	if err != nil {
		return nil, err
	}
	if count < 1 || count > len(whole.tensors) {
		return nil, fmt.Errorf("test model %q: its %d tensors can't be split into %d files", s.Name, len(whole.tensors), count)
	}
	var names []string
	for i := range count {
		var g gguf
		if i == 0 { // which alone says what the model is
			g.keys = whole.keys
			g.meta.Write(whole.meta.Bytes())
		}
		g.uint16("split.no", i)
		g.uint16("split.count", count)
		g.int32("split.tensors.count", len(whole.tensors))
		g.tensors = whole.tensors[len(whole.tensors)*i/count : len(whole.tensors)*(i+1)/count]
		var b bytes.Buffer
		if _, err := g.WriteTo(&b); err != nil {
			return nil, fmt.Errorf("test model %q: %w", s.Name, err)
		}
		name := fmt.Sprintf("%s-%05d-of-%05d.gguf", prefix, i+1, count)
		if err := atomicfile.Write(filepath.Join(dir, name), b.Bytes()); err != nil {
			return nil, fmt.Errorf("test model %s: %w", name, err)
		}
		names = append(names, name)
	}
	return names, nil
}

// WriteFile writes the model to a file, which is replaced as a whole or not at all, and
// returns its SHA-256 in hexadecimal and its size in bytes.
func WriteFile(path string, s Spec) (sha256hex string, size int64, err error) {
	var b bytes.Buffer
	if err := Write(&b, s); err != nil {
		return "", 0, err
	}
	sum := sha256.Sum256(b.Bytes())
	size = int64(b.Len())
	if err := atomicfile.Write(path, b.Bytes()); err != nil {
		return "", 0, fmt.Errorf("test model %s: %w", path, err)
	}
	return hex.EncodeToString(sum[:]), size, nil
}

// describe writes the metadata that an engine needs to run the model.
func describe(g *gguf, s Spec, v *vocabulary) {
	fileType := 0 // all 32-bit floats
	if s.Half {
		fileType = 1 // mostly 16-bit floats
	}
	g.string("general.architecture", "llama")
	g.string("general.name", s.Name)
	g.string("general.license", "CC0-1.0")
	g.uint32("general.file_type", fileType)
	g.uint32("general.alignment", ggufAlignment)
	g.uint32("llama.context_length", s.Context)
	g.uint32("llama.embedding_length", s.Width)
	g.uint32("llama.block_count", s.Layers)
	g.uint32("llama.feed_forward_length", s.Hidden)
	g.uint32("llama.attention.head_count", s.Heads)
	g.uint32("llama.attention.head_count_kv", s.KVHeads)
	g.float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
	g.uint32("llama.rope.dimension_count", s.Width/s.Heads)
	g.float32("llama.rope.freq_base", 10000)
	g.uint32("llama.vocab_size", len(v.tokens))
	g.string("tokenizer.ggml.model", "llama")
	g.string("tokenizer.ggml.pre", "default")
	g.strings("tokenizer.ggml.tokens", v.tokens)
	g.float32s("tokenizer.ggml.scores", v.scores)
	g.int32s("tokenizer.ggml.token_type", v.kinds)
	g.uint32("tokenizer.ggml.bos_token_id", v.begin)
	g.uint32("tokenizer.ggml.eos_token_id", v.end)
	g.uint32("tokenizer.ggml.unknown_token_id", v.unknown)
	g.bool("tokenizer.ggml.add_bos_token", true)
	g.bool("tokenizer.ggml.add_eos_token", false)
	g.bool("tokenizer.ggml.add_space_prefix", false)
	g.string("tokenizer.chat_template", s.Template)
}

// fill writes the weights.
func fill(g *gguf, s Spec, v *vocabulary) {
	r := random{rand.NewPCG(s.Seed, 0)}
	store := func(name string, data []float32, in, out int) {
		if s.Half {
			g.tensor(name, tensorF16, half(data), in, out)
			return
		}
		g.tensor(name, tensorF32, data, in, out)
	}
	norm := func(name string) { g.tensor(name, tensorF32, ones(s.Width), s.Width) }

	words := embeddings(r, v, s.Width)
	store("token_embd.weight", words, s.Width, len(v.tokens))
	norm("output_norm.weight")
	store("output.weight", outputs(v, words, s.Width), s.Width, len(v.tokens))

	// What a block adds to its input is small, so that the chain shows through.
	const quiet = 0.01
	random := func(name string, scale float64, in, out int) { store(name, matrix(r, scale, in, out), in, out) }
	kv := s.Width / s.Heads * s.KVHeads
	for l := range s.Layers {
		block := func(name string) string { return fmt.Sprintf("blk.%d.%s.weight", l, name) }
		norm(block("attn_norm"))
		random(block("attn_q"), 1, s.Width, s.Width)
		random(block("attn_k"), 1, s.Width, kv)
		random(block("attn_v"), 1, s.Width, kv)
		random(block("attn_output"), quiet, s.Width, s.Width)
		norm(block("ffn_norm"))
		random(block("ffn_gate"), 1, s.Width, s.Hidden)
		random(block("ffn_up"), 1, s.Width, s.Hidden)
		random(block("ffn_down"), quiet, s.Hidden, s.Width)
	}
}
