package hostfile

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// Change is one change of a host file's text.
type Change interface {
	// apply returns the text with the change made. It is HCL afterwards and says what the change
	// wants it to say, or there is an error.
	apply(src []byte, filename string) ([]byte, error)
}

// Edit sets one text attribute of a block inside the host block.
type Edit struct {
	Block     string // such as "model"
	Name      string // its label; "" for a block without one; MODEL/NAME for a companion
	Attribute string
	Value     string
}

// Rewrite makes the changes in a host file, in one step, and changes nothing else of it: comments and layout stay. It reports
// whether the text is another one now; the same text isn't written.
func Rewrite(path string, changes ...Change) (changed bool, err error) {
	text, changed, err := Preview(path, changes...)
	if err != nil || !changed {
		return false, err
	}
	if err := replace(path, text); err != nil {
		return false, fmt.Errorf("write the host file: %w", err)
	}
	return true, nil
}

// Preview returns what Rewrite would write. Changes that would make a valid host file faulty are refused with its faults.
func Preview(path string, changes ...Change) (text []byte, changed bool, err error) {
	src, diags := read(path)
	if diags.HasErrors() {
		return nil, false, AsError(diags)
	}
	text, err = Apply(src, path, changes...)
	if err != nil {
		return nil, false, err
	}
	if _, before := ParseUnpinned(src, path); !before.HasErrors() {
		if _, after := ParseUnpinned(text, path); after.HasErrors() {
			return nil, false, &Error{Diagnostics: after, Files: map[string]*hcl.File{path: {Bytes: text}}}
		}
	}
	return text, string(text) != string(src), nil
}

// Apply returns the text of a host file with the changes made.
func Apply(src []byte, filename string, changes ...Change) ([]byte, error) {
	var err error
	for _, c := range changes {
		if src, err = c.apply(src, filename); err != nil {
			return nil, err
		}
	}
	return src, nil
}

// apply sets the value. An attribute that isn't there is added below the block's last one.
func (e Edit) apply(src []byte, filename string) ([]byte, error) {
	b, err := locate(src, filename, e.Block, e.Name)
	if err != nil {
		return nil, err
	}
	literal := quote(e.Value)
	if a, ok := b.Body.Attributes[e.Attribute]; ok {
		src = splice(src, a.Expr.Range().Start.Byte, a.Expr.Range().End.Byte, literal)
	} else if src, err = add(src, filename, b, e, literal); err != nil {
		return nil, err
	}
	return src, verify(src, filename, e)
}

func quote(value string) string { return string(hclwrite.TokensForValue(cty.StringVal(value)).Bytes()) }

// byHand is the way out where a text can't be edited safely.
func byHand(filename string, e Edit) error {
	return fmt.Errorf("cannot write %s into %s of %s: write %s = %q there yourself", e.Attribute, blockNamed(e.Block, e.Name), filename, e.Attribute, e.Value)
}

func blockNamed(block, name string) string {
	if name == "" {
		return block
	}
	return fmt.Sprintf("%s %q", block, name)
}

// locate finds a block of the host block; a companion, whose name is MODEL/NAME, inside of its model.
func locate(src []byte, filename, block, name string) (*hclsyntax.Block, error) {
	host, err := hostBlock(src, filename)
	if err != nil {
		return nil, err
	}
	in, label := host.Body, name
	if block == companionBlock {
		var model string
		model, label, _ = strings.Cut(name, "/")
		m := blockIn(in, modelBlock, model)
		if m == nil {
			return nil, fmt.Errorf("%s has no block %s", filename, blockNamed(modelBlock, model))
		}
		in = m.Body
	}
	if b := blockIn(in, block, label); b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("%s has no block %s", filename, blockNamed(block, name))
}

// hostBlock parses a host file's text and returns its block.
func hostBlock(src []byte, filename string) (*hclsyntax.Block, error) {
	file, diags := hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, AsError(diags)
	}
	if host := blockOf(file.Body.(*hclsyntax.Body), schema.name); host != nil {
		return host, nil
	}
	return nil, fmt.Errorf("%s has no host block", filename)
}

// blockOf returns the first block of a type.
func blockOf(body *hclsyntax.Body, kind string) *hclsyntax.Block {
	for _, b := range body.Blocks {
		if b.Type == kind {
			return b
		}
	}
	return nil
}

func blockIn(body *hclsyntax.Body, kind, label string) *hclsyntax.Block {
	for _, b := range body.Blocks {
		if b.Type == kind && strings.Join(b.Labels, " ") == label {
			return b
		}
	}
	return nil
}

// add writes a new attribute below the last one, with its indentation and its equals sign in the same column.
func add(src []byte, filename string, b *hclsyntax.Block, e Edit, literal string) ([]byte, error) {
	attributes := sortedAttributes(b.Body)
	if len(attributes) == 0 {
		return nil, byHand(filename, e)
	}
	last := attributes[len(attributes)-1]
	start := last.NameRange.Start.Byte
	lineStart := strings.LastIndexByte(string(src[:start]), '\n') + 1
	indent := string(src[lineStart:start])
	lineEnd := strings.IndexByte(string(src[last.SrcRange.End.Byte:]), '\n')
	if strings.TrimSpace(indent) != "" || lineEnd < 0 {
		return nil, byHand(filename, e) // the block is on one line
	}
	end := last.SrcRange.End.Byte + lineEnd + 1
	padding := max(1, last.EqualsRange.Start.Byte-start-utf8.RuneCountInString(e.Attribute))
	return splice(src, end, end, indent+e.Attribute+strings.Repeat(" ", padding)+"= "+literal+"\n"), nil
}

// verify parses the edited text once more, so that a layout nobody thought of ends in an error and not in a damaged file.
func verify(src []byte, filename string, e Edit) error {
	b, err := locate(src, filename, e.Block, e.Name)
	if err != nil {
		return byHand(filename, e)
	}
	a, ok := b.Body.Attributes[e.Attribute]
	if !ok {
		return byHand(filename, e)
	}
	value, diags := a.Expr.Value(nil)
	if diags.HasErrors() || !value.RawEquals(cty.StringVal(e.Value)) {
		return byHand(filename, e)
	}
	return nil
}

func splice(src []byte, start, end int, text string) []byte {
	return []byte(string(src[:start]) + text + string(src[end:]))
}
