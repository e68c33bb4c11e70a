package arch

import (
	"os"
	"strings"
	"testing"
)

// A reader who looks for something starts at the document's table of rooms.
func TestArchitectureNamesEveryRoom(t *testing.T) {
	document, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, p := range packages(t) {
		room, rest, _ := strings.Cut(p.path(), "/")
		if room == "internal" {
			name, _, _ := strings.Cut(rest, "/")
			room += "/" + name
		}
		if !strings.Contains(string(document), "\n| `"+room+"` |") {
			missing[room] = true
		}
	}
	for room := range missing {
		t.Errorf("docs/architecture.md doesn't say what happens in %s: give it a row of the table", room)
	}
}
