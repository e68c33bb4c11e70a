package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// verbs are the names of the commands that a user sees.
func verbs(root *cobra.Command) []string {
	var names []string
	for _, c := range root.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	return names
}

func TestHelpNamesEveryVerbOnce(t *testing.T) {
	root := New()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs([]string{"--help"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	_, help, _ := strings.Cut(out.String(), "Usage:")
	for _, verb := range verbs(root) {
		if n := len(regexp.MustCompile(`(?m)^  `+regexp.QuoteMeta(verb)+` {2,}\S`).FindAllString(help, -1)); n != 1 {
			t.Errorf("the help names %s %d times:\n%s", verb, n, help)
		}
	}
	if strings.Contains(help, "Additional Commands") {
		t.Errorf("a verb is in no group:\n%s", help)
	}
}

var (
	tableCell = regexp.MustCompile("(?m)^\\| (`[^|]+`) \\|")
	inCode    = regexp.MustCompile("`([^`]+)`")
)

// The README's table of commands is complete, and names nothing that isn't there.
func TestReadmeListsTheVerbs(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(readme), "\n## Commands\n")
	if !found {
		t.Fatal("the README has no section Commands")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var listed []string
	for _, cell := range tableCell.FindAllStringSubmatch(section, -1) {
		for _, name := range inCode.FindAllStringSubmatch(cell[1], -1) {
			listed = append(listed, strings.TrimPrefix(name[1], "llmhost "))
		}
	}
	there := verbs(New())
	for _, name := range listed {
		if !slices.Contains(there, name) {
			t.Errorf("the README lists llmhost %s, which isn't there", name)
		}
	}
	for _, name := range there {
		if name != "help" && name != "version" && !slices.Contains(listed, name) {
			t.Errorf("the README leaves out llmhost %s", name)
		}
	}
}

var (
	inBlock = regexp.MustCompile(`(?:^\s*(?:\$ )?|\$\()llmhost ([^#|;&)]+)`)
	inLine  = regexp.MustCompile("`llmhost ([a-z][^`|]*)`")
)

// shownCommands finds the llmhost commands of a Markdown text: in its blocks of code and in its lines.
func shownCommands(text string) []string {
	var commands []string
	block := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			block = !block
			continue
		}
		pattern := inLine
		if block {
			pattern = inBlock
		}
		for _, found := range pattern.FindAllStringSubmatch(line, -1) {
			commands = append(commands, strings.TrimSpace(found[1]))
		}
	}
	return commands
}

// Every command that the documents show exists, with its flags.
func TestDocumentedCommandsExist(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range shownCommands(string(text)) {
			shown++
			cmd, rest, err := New().Find(strings.Fields(command))
			if err != nil || !cmd.HasParent() {
				t.Errorf("%s: there is no command llmhost %s", file, command)
				continue
			}
			cmd.InheritedFlags() // makes Flags complete
			for _, arg := range rest {
				name := strings.TrimLeft(strings.SplitN(arg, "=", 2)[0], "-")
				if !strings.HasPrefix(arg, "-") || name == "" || name == "h" || name == "help" ||
					cmd.Flags().Lookup(name) != nil || len(name) == 1 && cmd.Flags().ShorthandLookup(name) != nil {
					continue
				}
				t.Errorf("%s: llmhost %s: there is no flag %s", file, command, arg)
			}
		}
	}
	if shown < 30 {
		t.Errorf("only %d commands were found in the documents", shown)
	}
}
