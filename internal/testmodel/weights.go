package testmodel

import (
	"math"
	"math/rand/v2"
)

// gain is the sharpness of the chain: the next word's logit is some 40 and any other's below
// 20, so that no usual temperature picks another.
const gain = 5

// Every product that is added to something is converted explicitly in this file. Without the
// conversion, Go may fuse the two operations on some architectures, and the file would then
// have other bytes there.

// random yields numbers of mean 0 and variance 1. It adds twelve uniform numbers, since the
// usual normal distributions need logarithms, whose last bit depends on the architecture.
type random struct{ source *rand.PCG }

func (r random) normal() float64 {
	sum := -6.0
	for range 12 {
		sum += float64(r.source.Uint64()>>11) / (1 << 53)
	}
	return sum
}

// embeddings gives each token a direction of its own. A token outside the chain (prompt text,
// or what a grammar has forced) points towards the assistant's turn, so that the reply starts
// there, whatever was last in the context.
func embeddings(r random, v *vocabulary, width int) []float32 {
	m := make([]float32, len(v.tokens)*width)
	row := func(token int) []float32 { return m[token*width : (token+1)*width] }
	for token := range v.tokens {
		square := 0.0
		for i := range row(token) {
			x := r.normal()
			row(token)[i] = float32(x)
			square += float64(x * x)
		}
		norm := float32(math.Sqrt(square))
		for i := range row(token) {
			row(token)[i] /= norm
		}
	}
	start := row(v.assistant)
	for token := range v.tokens {
		if _, chained := v.next[token]; chained {
			continue
		}
		for i := range start {
			row(token)[i] = float32(0.8*start[i]) + float32(0.6*row(token)[i])
		}
	}
	return m
}

// outputs points each word of the chain along the embedding of the word before it.
func outputs(v *vocabulary, embeddings []float32, width int) []float32 {
	m := make([]float32, len(embeddings))
	for token := range v.tokens { // in order: the sum's last bit depends on it
		next, ok := v.next[token]
		if !ok {
			continue
		}
		for i := range width {
			m[next*width+i] += float32(gain * embeddings[token*width+i])
		}
	}
	return m
}

// matrix is a random matrix which keeps a vector's length, times scale.
func matrix(r random, scale float64, in, out int) []float32 {
	m := make([]float32, in*out)
	for i := range m {
		m[i] = float32(r.normal() * scale / math.Sqrt(float64(in)))
	}
	return m
}

func ones(n int) []float32 {
	m := make([]float32, n)
	for i := range m {
		m[i] = 1
	}
	return m
}

// half converts to 16-bit floats, rounding towards zero: test weights need no better.
func half(values []float32) []uint16 {
	out := make([]uint16, len(values))
	for i, f := range values {
		bits := math.Float32bits(f)
		sign, mantissa := uint16(bits>>16)&0x8000, uint16(bits>>13)&0x3ff
		switch exponent := int(bits>>23&0xff) - 127 + 15; {
		case exponent <= 0:
			out[i] = sign
		case exponent >= 31:
			out[i] = sign | 0x7bff // the largest finite number
		default:
			out[i] = sign | uint16(exponent)<<10 | mantissa
		}
	}
	return out
}
