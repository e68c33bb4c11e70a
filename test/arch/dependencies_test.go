package arch

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// required are the modules that a go.mod names, with their versions: those that its module
// imports itself (direct), and those that come with them.
func required(t *testing.T, goMod string) (direct, indirect map[string]string) {
	t.Helper()
	cmd := exec.Command("go", "mod", "edit", "-json", goMod)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("read %s: %v", goMod, err)
	}
	var module struct {
		Require []struct {
			Path, Version string
			Indirect      bool
		}
	}
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatalf("read %s: %v", goMod, err)
	}
	direct, indirect = map[string]string{}, map[string]string{}
	for _, r := range module.Require {
		if r.Indirect {
			indirect[r.Path] = r.Version
		} else {
			direct[r.Path] = r.Version
		}
	}
	return direct, indirect
}

// In the first cell of a row: a module, and its version if the document promises one.
var documentedModule = regexp.MustCompile("`([^`]+)`(?: v?([0-9][^ ,|]*))?")

// A dependency is code that runs with every right of llmhost's, so each is there for a reason
// that a reader can look up.
func TestEveryDependencyHasAReason(t *testing.T) {
	document, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	direct, _ := required(t, "../../go.mod")
	if len(direct) < 5 {
		t.Fatalf("go.mod asks for %d modules, so that nothing would be tested", len(direct))
	}
	documented := map[string]bool{}
	for line := range strings.Lines(string(document)) {
		row, isRow := strings.CutPrefix(line, "| ")
		if !isRow {
			continue
		}
		cell, _, _ := strings.Cut(row, " |")
		for _, match := range documentedModule.FindAllStringSubmatch(cell, -1) {
			path, version := match[1], match[2]
			documented[path] = true
			switch is, ok := direct[path]; {
			case !ok:
				t.Errorf("docs/dependencies.md explains %s, which go.mod doesn't ask for (any more, or not directly)", path)
			case version != "" && "v"+version != is:
				t.Errorf("docs/dependencies.md says %s %s, and go.mod %s", path, version, is)
			}
		}
	}
	for path := range direct {
		if !documented[path] {
			t.Errorf("go.mod asks for %s, and docs/dependencies.md doesn't say what for", path)
		}
	}
}

// The interop tests drive one state by two command lines, which prove nothing about each other
// when they are of two versions.
func TestThePulumiCLIIsOfTheEnginesVersion(t *testing.T) {
	ours, _ := required(t, "../../go.mod")
	_, theirs := required(t, "../interop/pulumicli/go.mod")
	for _, path := range []string{pulumiEngine, pulumiSDK} {
		if ours[path] == "" || ours[path] != theirs[path] {
			t.Errorf("go.mod asks for %s %q, and test/interop/pulumicli/go.mod for %q", path, ours[path], theirs[path])
		}
	}
}
