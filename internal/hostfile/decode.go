package hostfile

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// document is what a whole host file decodes into.
type document struct {
	Host
	models *modelsBlock
}

// modelsBlock is the models block.
type modelsBlock struct {
	Place
	path        string
	verifyEvery time.Duration
	hub         string
}

// decoder walks a file beside the schema and collects every fault on the way.
type decoder struct {
	scope scope
	diags hcl.Diagnostics

	// misspelt are the blocks that an unknown one was probably meant to be, whose absence is no fault on top.
	misspelt map[string]bool
	// meantEngines are the names that engine blocks of an unknown kind were probably meant to have.
	meantEngines []string
}

func (d *decoder) errorAt(at hcl.Range, summary, detail string, args ...any) {
	d.diags = append(d.diags, errorAt(at, summary, detail, args...))
}

func (d *decoder) warnAt(at hcl.Range, summary, detail string, args ...any) {
	d.diags = append(d.diags, warnAt(at, summary, detail, args...))
}

// attributeFault marks a diagnostic that is about the value of one attribute and nothing else.
type attributeFault struct{ attribute string }

// concerns marks the last diagnostic.
func (d *decoder) concerns(attribute string) {
	d.diags[len(d.diags)-1].Extra = attributeFault{attribute}
}

// file decodes the file's only block. It returns nil when there is none.
func (d *decoder) file(body *hclsyntax.Body) *document {
	for _, a := range sortedAttributes(body) {
		d.errorAt(a.NameRange, fmt.Sprintf("unknown attribute %q outside of a block", a.Name), "A host file holds one block: host \"NAME\" { … }.")
	}
	var found *document
	for _, b := range body.Blocks {
		switch {
		case b.Type != schema.name:
			d.errorAt(b.TypeRange, fmt.Sprintf("unknown block %q", b.Type), "%sA host file holds one block: host \"NAME\" { … }.",
				didYouMean(nearest(b.Type, []string{schema.name})))
		case found != nil:
			d.errorAt(b.DefRange(), "a second host block", "The first is at %s. Each host has a file of its own.", position(found.Range))
		default:
			found = &document{Host: Host{ModelsPath: DefaultModelsPath, VerifyEvery: DefaultVerifyEvery, Hub: DefaultHub}}
			d.block(&schema, b, found)
		}
	}
	if found == nil && len(d.diags) == 0 {
		d.errorAt(body.MissingItemRange(), "no host block", "A host file holds one block: host \"NAME\" { … }.")
	}
	return found
}

// block decodes one block with everything in it into target.
func (d *decoder) block(spec *block, b *hclsyntax.Block, target any) {
	place := target.(placed).place()
	place.Range, place.Attributes = b.DefRange(), map[string]hcl.Range{}
	d.label(spec, b, target)
	misspelt := map[string]bool{} // what was probably meant by an unknown name, which then isn't missing as well
	for _, a := range sortedAttributes(b.Body) {
		if spec.attribute(a.Name) == nil && spec.block(a.Name) == nil {
			misspelt[d.unknown("attribute", spec, a.Name, a.NameRange)] = true
			continue
		}
		d.attribute(spec, a, target)
	}
	for i := range spec.attributes {
		a := &spec.attributes[i]
		if _, written := b.Body.Attributes[a.name]; written {
			continue
		}
		if a.required && misspelt[a.name] {
			continue
		}
		if a.required {
			d.errorAt(b.DefRange(), fmt.Sprintf("%s has no %s", heading(b), a.name), "%s", plain(a.doc))
			d.concerns(a.name)
		} else if a.fallback != cty.NilVal {
			if err := a.set(d.scope, target, a.fallback); err != nil {
				panic(fmt.Sprintf("the default of %s.%s: %v", spec.name, a.name, err))
			}
		}
	}
	first := map[string]hcl.Range{}
	for _, child := range b.Body.Blocks {
		d.child(spec, child, target, first)
	}
}

// child decodes a block inside a block; first holds where the blocks that may stand only once were met.
func (d *decoder) child(spec *block, b *hclsyntax.Block, target any, first map[string]hcl.Range) {
	child := spec.block(b.Type)
	if child == nil {
		if spec.attribute(b.Type) != nil {
			d.errorAt(b.TypeRange, fmt.Sprintf("%s is an attribute and not a block", b.Type), "Write %s = ….", b.Type)
			return
		}
		d.misspelt[d.unknown("block", spec, b.Type, b.TypeRange, spec.blockNames(len(b.Labels) > 0)...)] = true
		return
	}
	if at, again := first[b.Type]; again && !child.repeated {
		d.errorAt(b.DefRange(), fmt.Sprintf("a second %s block", b.Type), "The first is at %s. The %s block takes one.", position(at), spec.name)
	} else if !again {
		first[b.Type] = b.DefRange()
	}
	d.block(child, b, child.open(target))
}

func (d *decoder) label(spec *block, b *hclsyntax.Block, target any) {
	switch {
	case spec.label == nil && len(b.Labels) > 0:
		d.errorAt(b.LabelRanges[0], fmt.Sprintf("%s takes no name", spec.name), "Write %s { … }.", spec.name)
		return
	case spec.label == nil:
		return
	case len(b.Labels) == 0:
		d.errorAt(b.TypeRange, fmt.Sprintf("%s has no %s", spec.name, strings.ToLower(spec.label.meaning)), "Write %s { … }.", spec.header())
		return
	case len(b.Labels) > 1:
		d.errorAt(b.LabelRanges[1], fmt.Sprintf("%s takes one %s", spec.name, strings.ToLower(spec.label.meaning)), "Write %s { … }.", spec.header())
	}
	value, err := spec.label.check.decode(d.scope, cty.StringVal(b.Labels[0]))
	if err != nil {
		d.fault(b.LabelRanges[0], spec.name+" "+strings.ToLower(spec.label.meaning), err)
		value = b.Labels[0] // so that what refers to it isn't reported on top
	}
	spec.label.set(target, value)
}

func (d *decoder) attribute(spec *block, a *hclsyntax.Attribute, target any) {
	at := spec.attribute(a.Name)
	if at == nil {
		d.errorAt(a.NameRange, fmt.Sprintf("%s is a block and not an attribute", a.Name),
			"Write %s { … }, without an equals sign.", spec.block(a.Name).header())
		return
	}
	target.(placed).place().Attributes[a.Name] = a.Expr.Range()
	if words := a.Expr.Variables(); len(words) > 0 {
		d.unquoted(a, words[0])
		return
	}
	value, diags := a.Expr.Value(nil)
	if diags.HasErrors() {
		d.diags = append(d.diags, diags...)
		return
	}
	if err := at.set(d.scope, target, value); err != nil {
		d.fault(a.Expr.Range(), a.Name, err)
		d.concerns(a.Name)
	}
}

// unquoted reports a bare word, which HCL reads as a variable.
func (d *decoder) unquoted(a *hclsyntax.Attribute, word hcl.Traversal) {
	if name := hcl.ExprAsKeyword(a.Expr); name != "" {
		d.errorAt(a.Expr.Range(), fmt.Sprintf("%s isn't quoted", a.Name), "Write %s = %q.", a.Name, name)
		return
	}
	d.errorAt(word.SourceRange(), fmt.Sprintf("%s refers to a variable", a.Name),
		"A host file has no variables. A text that holds ${ or %%{ is written with $${ or %%%%{.")
}

// unknown reports a name that the block doesn't take, and returns the name that was probably meant or "". The likely ones
// are looked at before all others.
func (d *decoder) unknown(what string, spec *block, name string, at hcl.Range, likely ...string) string {
	names := spec.names()
	meant := cmp.Or(nearest(name, likely), nearest(name, names))
	hint := fmt.Sprintf("The %s block takes %s.", spec.name, list(names))
	if len(names) == 0 {
		hint = fmt.Sprintf("The %s block is empty.", spec.name)
	}
	d.errorAt(at, fmt.Sprintf("unknown %s %q in the %s block", what, name, spec.name), "%s%s", didYouMean(meant), hint)
	return meant
}

func (d *decoder) fault(at hcl.Range, name string, err error) {
	var f *fault
	if !errors.As(err, &f) {
		panic(fmt.Sprintf("the parser of %s gave an error that is no fault: %v", name, err))
	}
	d.errorAt(at, name+" "+f.problem, "%s", f.hint)
}

// heading is a block's header as it's written: server "fast".
func heading(b *hclsyntax.Block) string {
	if len(b.Labels) == 0 {
		return b.Type
	}
	return fmt.Sprintf("%s %q", b.Type, b.Labels[0])
}

// plain takes the marks of the documentation out of a sentence.
func plain(doc string) string { return strings.ReplaceAll(doc, "`", "") }

func sortedAttributes(body *hclsyntax.Body) []*hclsyntax.Attribute {
	var all []*hclsyntax.Attribute
	for _, a := range body.Attributes {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *hclsyntax.Attribute) int {
		return cmp.Compare(a.SrcRange.Start.Byte, b.SrcRange.Start.Byte)
	})
	return all
}
