package remote

import (
	"os"
	"strings"
	"testing"
)

// What the deploy user may do is documented as the rule that is really written.
func TestDocumentShowsTheSudoRule(t *testing.T) {
	document, err := os.ReadFile("../../docs/connecting.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := sudoRule("llmhost")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") && !strings.Contains(string(document), "\n    "+line) {
			t.Errorf("docs/connecting.md doesn't show the rule %q", line)
		}
	}
}
