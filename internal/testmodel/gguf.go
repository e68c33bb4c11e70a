package testmodel

import (
	"bytes"
	"encoding/binary"
	"io"
)

// The GGUF format, version 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
const (
	ggufMagic     = "GGUF"
	ggufVersion   = 3
	ggufAlignment = 32

	typeUint16  = 2
	typeUint32  = 4
	typeInt32   = 5
	typeFloat32 = 6
	typeBool    = 7
	typeString  = 8
	typeArray   = 9

	tensorF32 = 0
	tensorF16 = 1
	tensorI8  = 24
)

type tensor struct {
	name string
	dims []uint64 // the fastest-moving dimension first
	kind uint32
	data []byte
}

// gguf collects a file's metadata and tensors, in the order of the calls.
type gguf struct {
	meta    bytes.Buffer
	keys    uint64
	tensors []tensor
}

// put appends fixed-size values; a bytes.Buffer doesn't fail and the types are fixed here.
func put(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		if s, ok := v.(string); ok {
			put(b, uint64(len(s)))
			b.WriteString(s)
			continue
		}
		if err := binary.Write(b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
}

func (g *gguf) key(key string, kind uint32, value ...any) {
	g.keys++
	put(&g.meta, key, kind)
	put(&g.meta, value...)
}

func (g *gguf) uint16(key string, v int)         { g.key(key, typeUint16, uint16(v)) }
func (g *gguf) int32(key string, v int)          { g.key(key, typeInt32, int32(v)) }
func (g *gguf) uint32(key string, v int)         { g.key(key, typeUint32, uint32(v)) }
func (g *gguf) float32(key string, v float32)    { g.key(key, typeFloat32, v) }
func (g *gguf) bool(key string, v bool)          { g.key(key, typeBool, v) }
func (g *gguf) string(key, v string)             { g.key(key, typeString, v) }
func (g *gguf) int32s(key string, v []int32)     { g.array(key, typeInt32, len(v), v) }
func (g *gguf) float32s(key string, v []float32) { g.array(key, typeFloat32, len(v), v) }

func (g *gguf) strings(key string, v []string) {
	values := make([]any, len(v))
	for i := range v {
		values[i] = v[i]
	}
	g.array(key, typeString, len(v), values...)
}

func (g *gguf) array(key string, kind uint32, n int, values ...any) {
	g.key(key, typeArray, append([]any{kind, uint64(n)}, values...)...)
}

func (g *gguf) tensor(name string, kind uint32, data any, dims ...int) {
	t := tensor{name: name, kind: kind}
	for _, d := range dims {
		t.dims = append(t.dims, uint64(d))
	}
	var b bytes.Buffer
	put(&b, data)
	t.data = b.Bytes()
	g.tensors = append(g.tensors, t)
}

func aligned(n uint64) uint64 { return (n + ggufAlignment - 1) / ggufAlignment * ggufAlignment }

// WriteTo writes the file: header, metadata, tensor directory, tensors.
func (g *gguf) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	b.WriteString(ggufMagic)
	put(&b, uint32(ggufVersion), uint64(len(g.tensors)), g.keys)
	b.Write(g.meta.Bytes())
	offset := uint64(0)
	for _, t := range g.tensors {
		put(&b, t.name, uint32(len(t.dims)), t.dims, t.kind, offset)
		offset += aligned(uint64(len(t.data)))
	}
	pad := func() { b.Write(make([]byte, aligned(uint64(b.Len()))-uint64(b.Len()))) }
	pad()
	for _, t := range g.tensors {
		b.Write(t.data)
		pad()
	}
	return b.WriteTo(w)
}
