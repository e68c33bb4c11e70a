package hostfile

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"text/template"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

//go:generate go test -run TestDocsAreFresh -update .

// docs/hostfile.md is the prose of testdata/hostfile.md.tmpl with the schema's blocks, so that it can't lag behind.
func TestDocsAreFresh(t *testing.T) {
	page, err := template.New("hostfile.md.tmpl").ParseFiles("testdata/hostfile.md.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	full, err := os.ReadFile("testdata/full.hcl")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := page.Execute(&b, map[string]any{"Blocks": reference(t), "Full": string(full)}); err != nil {
		t.Fatal(err)
	}
	golden(t, "../../docs/hostfile.md", b.String())
}

// reference writes a section for each block, those inside of it after it.
func reference(t *testing.T) string {
	var b strings.Builder
	writeBlock(t, &b, schema, "###")
	return strings.TrimRight(b.String(), "\n")
}

func writeBlock(t *testing.T, b *strings.Builder, block block, level string) {
	if block.doc == "" {
		t.Errorf("the block %s isn't documented", block.name)
	}
	fmt.Fprintf(b, "%s `%s`\n\n%s", level, block.header(), block.doc)
	switch {
	case block.repeated:
		b.WriteString(" Any number of them.\n\n")
	default:
		b.WriteString("\n\n")
	}
	if block.label != nil {
		fmt.Fprintf(b, "%s: %s.\n\n", block.label.meaning, block.label.doc)
	}
	if len(block.attributes) > 0 {
		b.WriteString("| attribute | value | default | |\n|---|---|---|---|\n")
		for _, a := range block.attributes {
			if a.doc == "" || a.format == "" {
				t.Errorf("%s.%s isn't documented", block.name, a.name)
			}
			fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", a.name, a.format, whenAbsent(t, block, a), a.doc)
		}
		b.WriteString("\n")
	}
	for _, inside := range block.blocks {
		if block.name != schema.name {
			level = "####"
		}
		writeBlock(t, b, inside, level)
	}
}

// whenAbsent says what happens when an attribute isn't written, which must be exactly one thing.
func whenAbsent(t *testing.T, b block, a attribute) string {
	var ways []string
	if a.required {
		ways = append(ways, "**required**")
	}
	if a.fallback != cty.NilVal {
		ways = append(ways, "`"+string(hclwrite.TokensForValue(a.fallback).Bytes())+"`")
	}
	if a.absent != "" {
		ways = append(ways, a.absent)
	}
	if len(ways) != 1 {
		t.Errorf("%s.%s: required, a default, or somebody who decides; it has %d of them", b.name, a.name, len(ways))
	}
	return strings.Join(ways, " ")
}
