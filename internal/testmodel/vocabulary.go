package testmodel

import (
	"fmt"
	"strings"
)

// Token types of GGUF's tokenizer.ggml.token_type.
const (
	tokenNormal  = 1
	tokenUnknown = 2
	tokenControl = 3
	tokenByte    = 6
)

// space is how SentencePiece writes a space.
const space = "▁"

// vocabulary is a SentencePiece vocabulary with byte fallback, which can encode any prompt,
// and the chain of words that is the reply.
type vocabulary struct {
	tokens []string
	scores []float32
	kinds  []int32
	ids    map[string]int

	unknown, begin, end, assistant int

	next map[int]int // a token of the chain and the token after it
}

func newVocabulary(reply string) *vocabulary {
	v := &vocabulary{ids: map[string]int{}, next: map[int]int{}}
	v.unknown = v.add("<unk>", 0, tokenUnknown)
	v.begin = v.add("<s>", 0, tokenControl)
	v.end = v.add("</s>", 0, tokenControl)
	for i := range 256 {
		v.add(fmt.Sprintf("<0x%02X>", i), 0, tokenByte)
	}
	for _, role := range []string{"system", "user", "assistant", "tool", "end"} {
		v.add("<|"+role+"|>", 0, tokenControl)
	}
	v.assistant = v.ids["<|assistant|>"]
	v.add(space, -1, tokenNormal)
	for c := '!'; c <= '~'; c++ {
		v.add(string(c), -2-float32(c)/100, tokenNormal)
	}

	last := v.assistant
	for i, word := range strings.Fields(reply) {
		if i > 0 {
			word = space + word
		}
		// The low score keeps prompts from being encoded with the reply's words.
		token := v.add(word, -100, tokenNormal)
		v.next[last] = token
		last = token
	}
	v.next[last] = v.end

	for len(v.tokens)%32 != 0 { // a row length that every kernel can take
		v.add(fmt.Sprintf("<|reserved_%d|>", len(v.tokens)), 0, tokenControl)
	}
	return v
}

func (v *vocabulary) add(token string, score float32, kind int32) int {
	if id, ok := v.ids[token]; ok {
		return id
	}
	id := len(v.tokens)
	v.ids[token] = id
	v.tokens, v.scores, v.kinds = append(v.tokens, token), append(v.scores, score), append(v.kinds, kind)
	return id
}
