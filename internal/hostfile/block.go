package hostfile

import (
	"fmt"

	"github.com/zclconf/go-cty/cty"
)

// block describes one kind of block: how it's written, what it means and where its value goes. The functions of this file
// tie a block to its Go type; inside, targets are pointers to that type.
type block struct {
	name       string
	label      *label // nil: it has none
	repeated   bool
	doc        string
	attributes []attribute
	blocks     []block

	// open adds a new value to the parent and returns a pointer to it, valid until the next one is added.
	open func(parent any) any
}

// label describes the name in a block's header.
type label struct {
	meaning string // NAME, PATH …
	doc     string
	check   kind[string]
	set     func(target any, value string)
}

// attribute describes one attribute of a block.
type attribute struct {
	name     string
	doc      string
	format   string // name of its kind
	required bool
	fallback cty.Value // what is decoded when it isn't written; cty.NilVal: nothing
	absent   string    // who decides when it isn't written and has no fallback

	set func(in scope, target any, value cty.Value) error
}

// placed is every value that a block decodes into.
type placed interface{ place() *Place }

// one is a block that may stand once in its parent.
func one[P, C any, PC interface {
	*C
	placed
}](name string, field func(*P) **C, doc string, attributes ...attribute) block {
	return block{name: name, doc: doc, attributes: attributes, open: func(parent any) any {
		child := new(C)
		*field(parent.(*P)) = child
		return child
	}}
}

// many is a block that may stand any number of times in its parent.
func many[P, C any, PC interface {
	*C
	placed
}](name string, field func(*P) *[]C, doc string, attributes ...attribute) block {
	return block{name: name, doc: doc, repeated: true, attributes: attributes, open: func(parent any) any {
		all := field(parent.(*P))
		*all = append(*all, *new(C))
		return &(*all)[len(*all)-1]
	}}
}

// holding gives a block blocks of its own.
func holding(b block, blocks ...block) block {
	b.blocks = blocks
	return b
}

// labelled gives a block a label.
func labelled[C any](meaning string, check kind[string], doc string, field func(*C) *string, b block) block {
	b.label = &label{meaning: meaning, doc: doc, check: check, set: func(target any, value string) {
		*field(target.(*C)) = value
	}}
	return b
}

// attr is an attribute that is written as k says and decoded into the field.
func attr[C, V any](name string, k kind[V], field func(*C) *V, doc string, options ...func(*attribute)) attribute {
	a := attribute{name: name, doc: doc, format: k.name, fallback: cty.NilVal, set: func(in scope, target any, value cty.Value) error {
		v, err := k.decode(in, value)
		if err != nil {
			return err
		}
		*field(target.(*C)) = v
		return nil
	}}
	for _, option := range options {
		option(&a)
	}
	return a
}

// required makes a missing attribute a fault.
func required(a *attribute) { a.required = true }

// fallback is the value of an attribute that isn't written.
func fallback(v cty.Value) func(*attribute) { return func(a *attribute) { a.fallback = v } }

// otherwise says, for the documentation, who decides when the attribute isn't written.
func otherwise(who string) func(*attribute) { return func(a *attribute) { a.absent = who } }

// header is how the block starts, for errors and the documentation: engine "NAME".
func (b *block) header() string {
	if b.label == nil {
		return b.name
	}
	return fmt.Sprintf("%s %q", b.name, b.label.meaning)
}

func (b *block) attribute(name string) *attribute {
	for i := range b.attributes {
		if b.attributes[i].name == name {
			return &b.attributes[i]
		}
	}
	return nil
}

func (b *block) block(name string) *block {
	for i := range b.blocks {
		if b.blocks[i].name == name {
			return &b.blocks[i]
		}
	}
	return nil
}

// names are everything that may be written in the block.
func (b *block) names() []string {
	var names []string
	for _, a := range b.attributes {
		names = append(names, a.name)
	}
	for _, c := range b.blocks {
		names = append(names, c.name)
	}
	return names
}

// blockNames are the blocks inside the block that have a label, or those that have none.
func (b *block) blockNames(withLabel bool) []string {
	var names []string
	for _, c := range b.blocks {
		if (c.label != nil) == withLabel {
			names = append(names, c.name)
		}
	}
	return names
}
