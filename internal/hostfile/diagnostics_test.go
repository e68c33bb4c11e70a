package hostfile

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
)

func written(t *testing.T, diags hcl.Diagnostics, src string, color bool, width int) string {
	t.Helper()
	var b strings.Builder
	files := map[string]*hcl.File{"x.hcl": {Bytes: []byte(src)}}
	if err := WriteDiagnostics(&b, diags, files, color, width); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func at(line, start, end int) hcl.Range {
	return hcl.Range{Filename: "x.hcl", Start: hcl.Pos{Line: line, Column: start}, End: hcl.Pos{Line: line, Column: end}}
}

func TestWriteDiagnostics(t *testing.T) {
	fault := errorAt(at(2, 2, 5), "one two", "%s", "a long hint that is wrapped")
	warning := errorAt(at(9, 1, 2), "beyond the end", "")
	warning.Severity = hcl.DiagWarning
	diags := hcl.Diagnostics{fault, warning, {Severity: hcl.DiagError, Summary: "no place", Detail: "Nowhere."}}
	want := `x.hcl:2,2-5: one two
   2 | 	äbc = "?[2J"
     | 	^^^
  a long hint
  that is
  wrapped
x.hcl:9,1-2: warning: beyond the end
no place
  Nowhere.
`
	if diff := cmp.Diff(want, written(t, diags, "first\n\täbc = \"\x1b[2J\"\r\nlast\n", false, 14)); diff != "" {
		t.Errorf("the text (-want +got):\n%s", diff)
	}
	colored := written(t, hcl.Diagnostics{fault}, "first\n\täbc\n", true, 0)
	if !strings.HasPrefix(colored, "\x1b[1mx.hcl:2,2-5\x1b[0m: \x1b[31mone two\x1b[0m\n") || !strings.Contains(colored, "a long hint that is wrapped\n") {
		t.Errorf("in colour: %q", colored)
	}
}

func TestAsError(t *testing.T) {
	if err := AsError(hcl.Diagnostics{{Severity: hcl.DiagWarning, Summary: "only a warning"}}); err != nil {
		t.Errorf("a warning became an error: %v", err)
	}
	_, diags := Load("testdata/faults/bare.hcl")
	err := AsError(diags)
	var e *Error
	if !errors.As(err, &e) || len(e.Diagnostics) != len(diags) {
		t.Fatalf("not an *Error with all diagnostics: %v", err)
	}
	for _, place := range []string{"testdata/faults/bare.hcl:6,14-25", "testdata/faults/bare.hcl:7,14-21"} {
		if !strings.Contains(err.Error(), place) {
			t.Errorf("the error leaves out %s: %v", place, err)
		}
	}
}
