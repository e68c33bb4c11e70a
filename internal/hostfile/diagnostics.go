package hostfile

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// Error is what is wrong with a host file, as an error. Its text is every diagnostic with its place.
type Error struct {
	Diagnostics hcl.Diagnostics
	Files       map[string]*hcl.File // texts that aren't on the disk as they are meant here, by name
}

// Error returns the diagnostics as WriteDiagnostics writes them, without colour.
func (e *Error) Error() string {
	var b strings.Builder
	if err := WriteDiagnostics(&b, e.Diagnostics, e.Files, false, 0); err != nil {
		return e.Diagnostics.Error()
	}
	return strings.TrimRight(b.String(), "\n")
}

// AsError returns the diagnostics as an *Error, or nil when none of them is an error.
func AsError(diags hcl.Diagnostics) error {
	if !diags.HasErrors() {
		return nil
	}
	return &Error{Diagnostics: diags}
}

// position is a place as editors and terminals recognize it: hosts/desktop.hcl:12,3-9.
func position(r hcl.Range) string { return r.String() }

// WriteDiagnostics writes each diagnostic as a first line that tools can read, the line of the file, and the hint:
//
//	hosts/desktop.hcl:12,14-19: unknown engine "vlm"
//	  12 |     engine = "vlm"
//	     |              ^^^^^
//	  Did you mean "vllm"? …
//
// The text of the lines comes from files, by name, and for a file that isn't among them from the disk. The hint is wrapped at
// width columns, and not at all for a width of 0.
func WriteDiagnostics(w io.Writer, diags hcl.Diagnostics, files map[string]*hcl.File, color bool, width int) error {
	sources := sourceLines{files: files, lines: map[string][]string{}}
	var b strings.Builder
	for _, diag := range diags {
		writeDiagnostic(&b, diag, &sources, paint{color}, width)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeDiagnostic(b *strings.Builder, diag *hcl.Diagnostic, sources *sourceLines, p paint, width int) {
	severity, hue := "", red
	if diag.Severity == hcl.DiagWarning {
		severity, hue = "warning: ", yellow
	}
	if diag.Subject == nil {
		fmt.Fprintf(b, "%s\n", p.on(hue, severity+diag.Summary))
	} else {
		fmt.Fprintf(b, "%s: %s\n", p.on(bold, position(*diag.Subject)), p.on(hue, severity+diag.Summary))
		if line, ok := sources.line(diag.Subject.Filename, diag.Subject.Start.Line); ok {
			number := fmt.Sprintf("%4d", diag.Subject.Start.Line)
			fmt.Fprintf(b, "%s | %s\n", number, line)
			fmt.Fprintf(b, "%*s | %s\n", len(number), "", p.on(hue, underline(line, *diag.Subject)))
		}
	}
	for _, line := range wrap(diag.Detail, width-2) {
		fmt.Fprintf(b, "  %s\n", line)
	}
}

// underline marks the part of the line that the range covers. Tabs stay, so that the marks stand below what they mark.
func underline(line string, r hcl.Range) string {
	// Columns count what a reader sees as one character, which for all but combined characters is one rune.
	end := utf8.RuneCountInString(line) + 1
	if r.End.Line == r.Start.Line {
		end = min(end, r.End.Column)
	}
	var b strings.Builder
	column := 1
	for _, c := range line {
		if column >= r.Start.Column {
			break
		}
		if c != '\t' {
			c = ' '
		}
		b.WriteRune(c)
		column++
	}
	b.WriteString(strings.Repeat("^", max(1, end-r.Start.Column)))
	return b.String()
}

// wrap breaks a text into lines of at most width columns; a longer word has a line of its own. A line that is indented is one
// of a table, and stays as it is.
func wrap(text string, width int) []string {
	var lines []string
	for paragraph := range strings.Lines(text) {
		if strings.HasPrefix(paragraph, "  ") {
			lines = append(lines, strings.TrimRight(paragraph, "\n"))
			continue
		}
		line := ""
		for _, word := range strings.Fields(paragraph) {
			if line != "" && width > 0 && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
				lines, line = append(lines, line), ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// sourceLines finds the text of lines, reading each file once.
type sourceLines struct {
	files map[string]*hcl.File
	lines map[string][]string
}

func (s *sourceLines) line(file string, number int) (string, bool) {
	lines, known := s.lines[file]
	if !known {
		var src []byte
		if f := s.files[file]; f != nil {
			src = f.Bytes
		} else if data, err := os.ReadFile(file); err == nil {
			src = data // a diagnostic without its line is still a diagnostic, so a failure leaves it out
		}
		lines = strings.Split(string(src), "\n")
		s.lines[file] = lines
	}
	if number < 1 || number > len(lines) {
		return "", false
	}
	line := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return '?' // a file's bytes don't steer the reader's terminal
		}
		return r
	}, strings.TrimRight(lines[number-1], "\r"))
	return line, line != ""
}

// paint colours text by SGR codes (ECMA-48).
type paint struct{ enabled bool }

const (
	bold   = "1"
	red    = "31"
	yellow = "33"
)

func (p paint) on(code, text string) string {
	if !p.enabled {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
