package hostfile

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
)

// fault is what is wrong with one value. Its problem continues a sentence that starts with the attribute's name.
type fault struct {
	problem string
	hint    string
}

// Error makes fault an error, so that a value's parser has an ordinary signature.
func (f *fault) Error() string { return f.problem + ". " + f.hint }

func faultf(problem, hint string, args ...any) *fault {
	return &fault{problem: problem, hint: fmt.Sprintf(hint, args...)}
}

// warnAt makes a diagnostic that stops nothing.
func warnAt(at hcl.Range, summary, detail string, args ...any) *hcl.Diagnostic {
	diag := errorAt(at, summary, detail, args...)
	diag.Severity = hcl.DiagWarning
	return diag
}

// errorAt makes a diagnostic of a fault at a place.
func errorAt(at hcl.Range, summary, detail string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  summary,
		Detail:   fmt.Sprintf(detail, args...),
		Subject:  &at,
	}
}
