// Package requirements reads the files that say what a Python environment consists of.
//
// It exists so that an environment is as fixed as an archive before anything is sent to a host:
// each line names one version and the digests of its files, nothing is named by a folder, a
// repository or another file, and where packages come from is said by the host file alone. The
// agent, which runs as root, then gives the file to pip as it is.
package requirements

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// MaxSize is the largest file, in bytes: far above what any environment needs.
const MaxSize = 1 << 20

// Fault is what is wrong with a file.
type Fault struct {
	Line    int // of the requirement's first line, from 1
	Problem string
	Hint    string
}

// Error makes Fault an error.
func (f *Fault) Error() string { return fmt.Sprintf("line %d: %s. %s", f.Line, f.Problem, f.Hint) }

// Requirement is one package of an environment.
type Requirement struct {
	Line    int    // from 1
	Name    string // normalized: lower case, with hyphens
	Version string // "" where it is named by an address
}

var (
	// The name, the extras and the version are those of pip's requirement specifiers (PEP 508),
	// without what leaves a version open.
	pinned = regexp.MustCompile(`^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\s*\[[A-Za-z0-9._,\s-]*\])?\s*={2,3}\s*([A-Za-z0-9.!+_-]+)\s*(?:;.*)?$`)
	direct = regexp.MustCompile(`^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\s*\[[A-Za-z0-9._,\s-]*\])?\s*@\s*https://\S+\s*(?:;.*)?$`)
	hash   = regexp.MustCompile(`^--hash=sha256:[0-9a-f]{64}$`)
	name   = regexp.MustCompile(`[-_.]+`)
)

const howToMake = "Write the file with: pip-compile --generate-hashes, or uv pip compile --generate-hashes."

// Parse reads a file. It reports everything that is wrong at once.
func Parse(text string) ([]Requirement, []*Fault) {
	var all []Requirement
	var faults []*Fault
	fault := func(line int, problem, hint string) {
		faults = append(faults, &Fault{Line: line, Problem: problem, Hint: hint})
	}
	if len(text) > MaxSize {
		return nil, []*Fault{{Line: 1, Problem: fmt.Sprintf("the file has more than %d bytes", MaxSize), Hint: howToMake}}
	}
	if at := strings.IndexFunc(strings.ReplaceAll(text, "\r\n", "\n"), breaksLine); at >= 0 {
		return nil, []*Fault{{
			Line:    1 + strings.Count(strings.ReplaceAll(text, "\r\n", "\n")[:at], "\n"),
			Problem: "a character that pip takes for the end of a line, or a control character",
			Hint:    "Remove it. " + howToMake,
		}}
	}
	seen := map[string]int{}
	for _, l := range logicalLines(text) {
		if strings.HasPrefix(l.text, "-") {
			option, _, _ := strings.Cut(l.text, " ")
			option, _, _ = strings.Cut(option, "=")
			fault(l.number, fmt.Sprintf("%q is an option of pip", option), "Every line is a package. Where packages come from is said by index in the host file, and another file's lines belong into this one.")
			continue
		}
		if strings.Contains(l.text, "${") {
			fault(l.number, "a variable, which pip would fill in on the host", "Write what it stands for.")
			continue
		}
		specifier, hashes := split(l.text)
		r := Requirement{Line: l.number}
		if m := pinned.FindStringSubmatch(specifier); m != nil {
			r.Name, r.Version = m[1], m[2]
		} else if m := direct.FindStringSubmatch(specifier); m != nil {
			r.Name = m[1]
		} else {
			fault(l.number, fmt.Sprintf("%q names no single version", shortened(specifier)), "Write NAME==VERSION, or NAME @ https://… for one file. "+howToMake)
			continue
		}
		r.Name = strings.ToLower(name.ReplaceAllString(r.Name, "-"))
		good := 0
		for _, h := range hashes {
			if !hash.MatchString(h) {
				fault(l.number, fmt.Sprintf("%s has %q, which is no digest", r.Name, shortened(h)), "Write --hash=sha256: and 64 lower-case hexadecimal digits.")
				continue
			}
			good++
		}
		if len(hashes) == 0 {
			fault(l.number, r.Name+" has no --hash", "Without one the host would take whatever the index gives. "+howToMake)
			continue
		}
		if good == 0 {
			continue
		}
		if first, twice := seen[r.Name]; twice && !strings.Contains(specifier, ";") {
			fault(l.number, r.Name+" is there twice", fmt.Sprintf("The first is on line %d. Keep one.", first))
			continue
		}
		seen[r.Name] = l.number
		all = append(all, r)
	}
	if len(all) == 0 && len(faults) == 0 {
		fault(1, "the file names no package", howToMake)
	}
	return all, faults
}

// Digest names an environment by what was required of it. Comments count: two files are one
// environment only when they are the same file.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// breaksLine finds what Python's str.splitlines takes for the end of a line and people don't, and
// other control characters: a line could hide behind it.
func breaksLine(r rune) bool {
	return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029
}

type line struct {
	number int
	text   string
}

// logicalLines joins lines that end in a backslash and drops comments, as pip does.
func logicalLines(text string) []line {
	var lines []line
	var open *line
	number := 0
	for physical := range strings.Lines(text) {
		number++
		part := strings.TrimRight(physical, "\r\n")
		if i := strings.IndexByte(part, '#'); i == 0 || i > 0 && (part[i-1] == ' ' || part[i-1] == '\t') {
			part = part[:i]
		}
		part, continued := strings.CutSuffix(strings.TrimRight(part, " \t"), `\`)
		if open == nil {
			open = &line{number: number}
		}
		open.text = strings.TrimSpace(open.text + " " + strings.TrimSpace(part))
		if !continued {
			if open.text != "" {
				lines = append(lines, *open)
			}
			open = nil
		}
	}
	if open != nil && open.text != "" {
		lines = append(lines, *open)
	}
	return lines
}

// split parts a line into what it names and the options after it.
func split(text string) (specifier string, options []string) {
	fields := strings.Fields(text)
	for i, f := range fields {
		if strings.HasPrefix(f, "--") {
			return strings.Join(fields[:i], " "), fields[i:]
		}
	}
	return strings.Join(fields, " "), nil
}

func shortened(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
