package hostfile

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

const (
	modelBlock     = "model"
	companionBlock = "companion"
)

// NewModel adds a model block to a host file, below the last one. What is empty isn't written.
type NewModel struct {
	Name        string
	Source      string
	SHA256      string
	Origin      string // where the digest is from, as a comment behind it
	Retain      bool
	Download    string
	AllowPickle bool
	Shape       *Shape
	Companions  []NewCompanion
}

// NewCompanion adds a companion block to a model that is in the host file.
type NewCompanion struct {
	Model  string
	Name   string
	Kind   string
	Source string
	SHA256 string
	Origin string // where the digest is from, as a comment behind it
	Shape  *Shape
}

// Origin says behind a digest where it is from. A comment that a person wrote there stays.
type Origin struct {
	Block, Name string // as in Edit
	Text        string
	Refresh     bool // only in place of an older one, so that it isn't wrong
}

// String is the block's text, without indentation.
func (m NewModel) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s {\n", modelBlock, quote(m.Name))
	fmt.Fprintf(&b, "source = %s\nsha256 = %s%s\n", quote(m.Source), quote(m.SHA256), remark(m.Origin))
	if m.Retain {
		b.WriteString("retain = true\n")
	}
	if m.Download != "" {
		fmt.Fprintf(&b, "download = %s\n", quote(m.Download))
	}
	if m.AllowPickle {
		b.WriteString("allow_pickle = true\n")
	}
	if m.Shape != nil {
		b.WriteString("\n" + m.Shape.String())
	}
	for _, c := range m.Companions {
		b.WriteString("\n" + c.String())
	}
	b.WriteString("}\n")
	return string(hclwrite.Format([]byte(b.String())))
}

// String is the block's text, without indentation.
func (c NewCompanion) String() string {
	shape := ""
	if c.Shape != nil {
		shape = "\n" + c.Shape.String()
	}
	text := fmt.Sprintf("%s %s {\nkind = %s\nsource = %s\nsha256 = %s%s\n%s}\n",
		companionBlock, quote(c.Name), quote(c.Kind), quote(c.Source), quote(c.SHA256), remark(c.Origin), shape)
	return string(hclwrite.Format([]byte(text)))
}

// remark is a comment at the end of a line.
func remark(text string) string {
	if text == "" {
		return ""
	}
	return " # " + unsafePath.ReplaceAllString(text, " ")
}

func (m NewModel) apply(src []byte, filename string) ([]byte, error) {
	host, err := hostBlock(src, filename)
	if err != nil {
		return nil, err
	}
	// Models stand together, below what they need.
	var last *hclsyntax.Block
	for _, kind := range []string{modelBlock, "engine", "models", "gpu", "local", "ssh"} {
		for _, b := range host.Body.Blocks {
			if b.Type == kind {
				last = b
			}
		}
		if last != nil {
			break
		}
	}
	text, err := insert(src, filename, host, last, m.String())
	if err != nil {
		return nil, err
	}
	if err := m.verify(text, filename); err != nil {
		return nil, insertByHand(filename, host, m.String())
	}
	return text, nil
}

// verify makes sure that the text has the blocks with their values.
func (m NewModel) verify(src []byte, filename string) error {
	if err := verify(src, filename, Edit{modelBlock, m.Name, "source", m.Source}); err != nil {
		return err
	}
	for _, c := range m.Companions {
		if err := verify(src, filename, Edit{companionBlock, m.Name + "/" + c.Name, "source", c.Source}); err != nil {
			return err
		}
	}
	return verify(src, filename, Edit{modelBlock, m.Name, "sha256", m.SHA256})
}

func (c NewCompanion) apply(src []byte, filename string) ([]byte, error) {
	model, err := locate(src, filename, modelBlock, c.Model)
	if err != nil {
		return nil, err
	}
	var last *hclsyntax.Block
	for _, b := range model.Body.Blocks {
		last = b
	}
	text, err := insert(src, filename, model, last, c.String())
	if err != nil {
		return nil, err
	}
	if err := verify(text, filename, Edit{companionBlock, c.Model + "/" + c.Name, "source", c.Source}); err != nil {
		return nil, insertByHand(filename, model, c.String())
	}
	return text, nil
}

// insertByHand is the way out where a block can't be added safely.
func insertByHand(filename string, in *hclsyntax.Block, text string) error {
	return fmt.Errorf("cannot add to the block %s of %s: add this there yourself:\n\n%s", heading(in), filename, text)
}

// insert adds a block's text inside another block: below one of its blocks, or at its end.
func insert(src []byte, filename string, in, below *hclsyntax.Block, text string) ([]byte, error) {
	open, end := in.OpenBraceRange, in.CloseBraceRange
	if open.Start.Line == end.Start.Line {
		return nil, insertByHand(filename, in, text)
	}
	var at int // where the text starts, at the beginning of a line
	indent := indentOf(src, in.TypeRange.Start.Byte) + "  "
	before := "\n"
	switch {
	case below != nil && below.CloseBraceRange.Start.Line < end.Start.Line:
		at = lineAfter(src, below.CloseBraceRange.End.Byte)
		indent = indentOf(src, below.TypeRange.Start.Byte)
	default:
		at = end.Start.Byte - len(indentOf(src, end.Start.Byte))
		if len(in.Body.Blocks) == 0 && len(in.Body.Attributes) == 0 {
			before = "" // it is the first thing inside
		}
	}
	if at < 0 || strings.TrimSpace(indent) != "" {
		return nil, insertByHand(filename, in, text)
	}
	return splice(src, at, at, before+indentEach(text, indent)), nil
}

// indentOf is what stands before a position in its line.
func indentOf(src []byte, at int) string {
	return string(src[strings.LastIndexByte(string(src[:at]), '\n')+1 : at])
}

// lineAfter is where the line after a position's begins, or -1.
func lineAfter(src []byte, at int) int {
	i := strings.IndexByte(string(src[at:]), '\n')
	if i < 0 {
		return -1
	}
	return at + i + 1
}

// ours are comments that llmhost wrote, or that are there to be replaced.
var ours = regexp.MustCompile(`^# ((as|of) .*, on [0-9]{4}-[0-9]{2}-[0-9]{2}$|a placeholder\b)`)

func (o Origin) apply(src []byte, filename string) ([]byte, error) {
	b, err := locate(src, filename, o.Block, o.Name)
	if err != nil {
		return nil, err
	}
	a, ok := b.Body.Attributes["sha256"]
	if !ok {
		return nil, fmt.Errorf("%s has no sha256 in %s", filename, blockNamed(o.Block, o.Name))
	}
	start := a.SrcRange.End.Byte
	end := lineAfter(src, start) - 1
	if end < start || end-start > 0 && src[end-1] == '\r' {
		return src, nil // a layout that a comment doesn't fit in
	}
	there := strings.TrimSpace(string(src[start:end]))
	if there == "" && o.Refresh || there != "" && !ours.MatchString(there) {
		return src, nil
	}
	return splice(src, start, end, remark(o.Text)), nil
}

// NewShape says in a model's or a companion's block what of it decides how much memory it needs, in place of what it said.
type NewShape struct {
	Block, Name string // as in Edit
	Shape       Shape
}

const shapeBlock = "shape"

// String is the block's text, without indentation. What is zero isn't written.
func (s Shape) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s {\nsize = %s\n", shapeBlock, quote(s.Size.String()))
	if s.Layers > 0 {
		fmt.Fprintf(&b, "layers = %d\n", s.Layers)
	}
	if s.KVPerToken > 0 {
		fmt.Fprintf(&b, "kv_per_token = %s\n", quote(s.KVPerToken.String()))
	}
	if s.Vocabulary > 0 {
		fmt.Fprintf(&b, "vocabulary = %d\n", s.Vocabulary)
	}
	if s.Width > 0 {
		fmt.Fprintf(&b, "width = %d\n", s.Width)
	}
	b.WriteString("}\n")
	return string(hclwrite.Format([]byte(b.String())))
}

// Same reports whether two shapes say the same; either may be nil.
func (s *Shape) Same(o *Shape) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Size == o.Size && s.Layers == o.Layers && s.KVPerToken == o.KVPerToken && s.Vocabulary == o.Vocabulary && s.Width == o.Width
}

func (n NewShape) apply(src []byte, filename string) ([]byte, error) {
	b, err := locate(src, filename, n.Block, n.Name)
	if err != nil {
		return nil, err
	}
	text := n.Shape.String()
	old := blockOf(b.Body, shapeBlock)
	if old == nil {
		return insert(src, filename, b, nil, text)
	}
	// The lines of the old block are replaced, if they are its alone.
	indent := indentOf(src, old.TypeRange.Start.Byte)
	start, end := old.TypeRange.Start.Byte-len(indent), lineAfter(src, old.CloseBraceRange.End.Byte)
	if strings.TrimSpace(indent) != "" || end < 0 || strings.TrimSpace(string(src[old.CloseBraceRange.End.Byte:end])) != "" {
		return nil, insertByHand(filename, b, text)
	}
	return splice(src, start, end, indentEach(text, indent)), nil
}

func indentEach(text, indent string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line != "\n" {
			line = indent + line
		}
		b.WriteString(line)
	}
	return b.String()
}
