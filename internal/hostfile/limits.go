package hostfile

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Limits that no host file comes near. HCL's parser is recursive and takes about 8 KiB of stack for each level (v2.25.0), and
// a stack overflow ends a Go program without a message that a user could use, so what could cause one is refused beforehand.
const (
	maxFileSize    = 256 << 10 // bytes
	maxDepth       = 50        // of braces
	maxExpressions = 1000      // tokens that are neither a block, an attribute nor a plain value
)

// checkLimits refuses a text that isn't meant as a host file.
func checkLimits(src []byte, filename string) *hcl.Diagnostic {
	if len(src) > maxFileSize {
		return tooLarge(filename)
	}
	tokens, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos) // the parser reports the same faults
	depth, expressions := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace:
			depth++
		case hclsyntax.TokenCBrace:
			depth--
		case hclsyntax.TokenIdent, hclsyntax.TokenEqual, hclsyntax.TokenNewline, hclsyntax.TokenComment, hclsyntax.TokenNumberLit,
			hclsyntax.TokenOQuote, hclsyntax.TokenQuotedLit, hclsyntax.TokenCQuote,
			hclsyntax.TokenOHeredoc, hclsyntax.TokenStringLit, hclsyntax.TokenCHeredoc, hclsyntax.TokenEOF:
		default:
			expressions++
		}
		if depth > maxDepth || expressions > maxExpressions {
			return errorAt(t.Range, "too many expressions for a host file", "A host file is blocks and attributes with plain values.")
		}
	}
	return nil
}

func tooLarge(filename string) *hcl.Diagnostic {
	return &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  fmt.Sprintf("%s is too large for a host file", filename),
		Detail:   fmt.Sprintf("The most is %d bytes. A file block takes large content from its source.", maxFileSize),
	}
}
