package hostfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What would overflow the parser's stack is refused with a message, and ends nothing.
func TestNestingWithoutEndIsRefused(t *testing.T) {
	for _, nested := range []string{"[", "{a=", "(", "\"${", "-", "!", "a ? ", "1+", "[for a in ", "%{if true}", "<<A\n${", "f("} {
		for _, start := range []string{"host \"x\" {\n a = ", "host \"x\" {\n a = \"", ""} {
			src := start + strings.Repeat(nested, (maxFileSize-len(start))/len(nested))
			if host, diags := Parse([]byte(src), "x.hcl"); host != nil || !diags.HasErrors() {
				t.Errorf("%q, repeated after %q, was accepted", nested, start)
			}
		}
	}
	blocks := strings.Repeat("a {\n", maxFileSize/4)
	if host, diags := Parse([]byte(blocks), "x.hcl"); host != nil || len(diags) != 1 || !strings.Contains(diags[0].Summary, "too many") {
		t.Errorf("nested blocks: %v", diags)
	}
}

func TestAHugeFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "huge.hcl")
	huge := make([]byte, maxFileSize+1)
	if err := os.WriteFile(path, huge, 0o600); err != nil {
		t.Fatal(err)
	}
	_, loaded := Load(path)
	_, parsed := Parse(huge, path)
	for _, diags := range []interface{ Error() string }{loaded, parsed} {
		if !strings.Contains(diags.Error(), "too large") {
			t.Errorf("diagnostics: %v", diags)
		}
	}
}
