// Package testmodel writes tiny language models whose answer is known in advance.
//
// No package registry ships a model that is small enough for a test, and a fake server would
// prove nothing about the real one. So the project writes its own: a valid GGUF file of the
// llama architecture, half a megabyte, which a real inference server loads and runs like any
// other. Its transformer blocks are random and small, so that the engine does all of its work;
// its embedding and output matrices form a chain of words, so that it recites the reply that
// it was given and stops.
//
// It proves the serving path: loading, templating, decoding, streaming, stopping. It says
// nothing about language quality. Give each backend a reply of its own and a test sees by
// content which backend has answered.
package testmodel

import (
	"errors"
	"fmt"
	"strings"
)

// DefaultReply is what a model of the zero Spec answers to everything, at any temperature.
const DefaultReply = "This short answer was written by one tiny generated model, running inside a real inference server on plain CPU cores, and it ends here."

// DefaultTemplate is the chat template of a model whose Spec has none.
const DefaultTemplate = "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"

// Spec describes a model. A zero field has the default that its comment names. Equal specs
// give equal bytes, on every machine.
type Spec struct {
	Name     string // general.name; "tiny-test"
	Reply    string // what the model says, each word at most once; DefaultReply
	Template string // chat template in Jinja; DefaultTemplate
	Context  int    // trained context length in tokens; 2048
	Layers   int    // transformer blocks; 2
	Width    int    // embedding length, a multiple of 32 and of Heads; 64
	Hidden   int    // feed-forward length, a multiple of 32; 128
	Heads    int    // attention heads; 4
	KVHeads  int    // key and value heads, a divisor of Heads; 2
	Half     bool   // store matrices as 16-bit floats
	Seed     uint64 // seed of the random weights; 1
}

func (s Spec) withDefaults() Spec {
	text := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	number := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	text(&s.Name, "tiny-test")
	text(&s.Reply, DefaultReply)
	text(&s.Template, DefaultTemplate)
	number(&s.Context, 2048)
	number(&s.Layers, 2)
	number(&s.Width, 64)
	number(&s.Hidden, 128)
	number(&s.Heads, 4)
	number(&s.KVHeads, 2)
	if s.Seed == 0 {
		s.Seed = 1
	}
	return s
}

// validate checks what an engine would refuse, or answer wrongly for, much later.
func (s Spec) validate() error {
	var errs []error
	for _, n := range []struct {
		name  string
		value int
	}{
		{"Context", s.Context}, {"Layers", s.Layers}, {"Width", s.Width},
		{"Hidden", s.Hidden}, {"Heads", s.Heads}, {"KVHeads", s.KVHeads},
	} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("%s is %d and must be positive", n.name, n.value))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if s.Width%32 != 0 || s.Width%(2*s.Heads) != 0 {
		errs = append(errs, fmt.Errorf("Width is %d and must be a multiple of 32 and of twice the %d heads", s.Width, s.Heads))
	}
	if s.Hidden%32 != 0 {
		errs = append(errs, fmt.Errorf("Hidden is %d and must be a multiple of 32", s.Hidden))
	}
	if s.Heads%s.KVHeads != 0 {
		errs = append(errs, fmt.Errorf("KVHeads is %d and must divide the %d heads", s.KVHeads, s.Heads))
	}
	words := strings.Fields(s.Reply)
	if len(words) == 0 {
		errs = append(errs, errors.New("Reply has no word"))
	}
	seen := map[string]bool{}
	for _, w := range words {
		if seen[w] {
			errs = append(errs, fmt.Errorf("Reply has the word %q twice: the model couldn't tell which word is next", w))
		}
		seen[w] = true
	}
	return errors.Join(errs...)
}
