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

// Edit sets one text attribute of a block inside the host block.
type Edit struct {
	Block     string // such as "model"
	Name      string // its label; "" for a block without one
	Attribute string
	Value     string
}

// Rewrite makes the edits in a host file, in one step, and changes nothing else of it: comments and layout stay. It reports
// whether the text is another one now; the same text isn't written.
func Rewrite(path string, edits ...Edit) (changed bool, err error) {
	src, diags := read(path)
	if diags.HasErrors() {
		return false, AsError(diags)
	}
	text, err := Apply(src, path, edits...)
	if err != nil {
		return false, err
	}
	if string(text) == string(src) {
		return false, nil
	}
	if err := replace(path, text); err != nil {
		return false, fmt.Errorf("write the host file: %w", err)
	}
	return true, nil
}

// Apply returns the text of a host file with the edits made. An attribute that isn't there is added below the block's last
// one. The text is HCL afterwards and the attributes have the values, or there is an error.
func Apply(src []byte, filename string, edits ...Edit) ([]byte, error) {
	for _, e := range edits {
		b, err := locate(src, filename, e)
		if err != nil {
			return nil, err
		}
		literal := string(hclwrite.TokensForValue(cty.StringVal(e.Value)).Bytes())
		if a, ok := b.Body.Attributes[e.Attribute]; ok {
			src = splice(src, a.Expr.Range().Start.Byte, a.Expr.Range().End.Byte, literal)
		} else if src, err = add(src, filename, b, e, literal); err != nil {
			return nil, err
		}
		if err := verify(src, filename, e); err != nil {
			return nil, err
		}
	}
	return src, nil
}

// byHand is the way out where a text can't be edited safely.
func byHand(filename string, e Edit) error {
	return fmt.Errorf("cannot write %s into %s of %s: write %s = %q there yourself", e.Attribute, e.target(), filename, e.Attribute, e.Value)
}

func (e Edit) target() string {
	if e.Name == "" {
		return e.Block
	}
	return fmt.Sprintf("%s %q", e.Block, e.Name)
}

func locate(src []byte, filename string, e Edit) (*hclsyntax.Block, error) {
	file, diags := hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, AsError(diags)
	}
	for _, host := range file.Body.(*hclsyntax.Body).Blocks {
		for _, b := range host.Body.Blocks {
			if b.Type == e.Block && strings.Join(b.Labels, " ") == e.Name {
				return b, nil
			}
		}
	}
	return nil, fmt.Errorf("%s has no block %s", filename, e.target())
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
	b, err := locate(src, filename, e)
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
