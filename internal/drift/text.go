package drift

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// Colours of the text view, as ANSI SGR codes.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	dim    = "2"
)

// WriteText writes a report for people: one block a resource, one line a property, and texts of
// several lines as a difference in which - is what was deployed and + is what the host has.
func (r Report) WriteText(w io.Writer, color bool) error {
	v := view{color: color}
	if !r.Drifted {
		v.line("%s No drift: %s (%s) is as it was deployed.", v.paint(green, "✓"), r.Stack, r.Host)
		return v.flush(w)
	}
	for i, f := range r.Findings {
		if i == 0 || f.URN != r.Findings[i-1].URN || f.Kind != r.Findings[i-1].Kind {
			if i > 0 {
				v.line("")
			}
			v.heading(f)
		}
		if f.Kind != Missing {
			v.property(f)
		}
	}
	v.line("")
	v.line("%s %s", v.paint(yellow, "!"), r.summary())
	return v.flush(w)
}

// summary counts, and says how to go on.
func (r Report) summary() string {
	changed, missing, facts := map[string]bool{}, 0, 0
	properties := 0
	for _, f := range r.Findings {
		switch f.Kind {
		case Changed:
			changed[f.URN] = true
			properties++
		case Missing:
			missing++
		case Facts:
			facts++
		}
	}
	var parts []string
	if properties > 0 {
		parts = append(parts, fmt.Sprintf("%s of %s changed", plural(properties, "property", "properties"), plural(len(changed), "resource", "resources")))
	}
	if missing > 0 {
		parts = append(parts, plural(missing, "resource", "resources")+" missing")
	}
	if facts > 0 {
		parts = append(parts, plural(facts, "fact", "facts")+" about the machine changed")
	}
	text := fmt.Sprintf("Drift on %s (%s): %s.", r.Stack, r.Host, strings.Join(parts, ", "))
	if properties+missing > 0 {
		text += fmt.Sprintf(" Repair with `llmhost up -s %s --refresh`.", r.Stack)
	}
	if facts > 0 {
		text += fmt.Sprintf(" Accept the facts with `llmhost probe -s %s`.", r.Stack)
	}
	return text
}

type view struct {
	b     strings.Builder
	color bool
}

func (v *view) flush(w io.Writer) error {
	_, err := io.WriteString(w, v.b.String())
	return err
}

func (v *view) line(format string, args ...any) { fmt.Fprintf(&v.b, format+"\n", args...) }

func (v *view) paint(code, s string) string {
	if !v.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (v *view) heading(f Finding) {
	if f.Kind == Facts {
		v.line("%s", v.paint(bold, "Facts"))
		return
	}
	title := v.paint(bold, f.Type[strings.LastIndexByte(f.Type, ':')+1:]+" "+printable(f.ID))
	if f.Kind == Missing {
		title += "  " + v.paint(red, "missing")
	}
	v.line("%s", title)
}

func (v *view) property(f Finding) {
	want, wantText := f.Want.(string)
	have, haveText := f.Have.(string)
	wantText, haveText = wantText || f.Want == nil, haveText || f.Have == nil
	if wantText && haveText && (strings.Contains(want, "\n") || strings.Contains(have, "\n")) {
		v.text(f.Property, want, have)
		return
	}
	v.line("  %-16s %s  %s", printable(f.Property), v.paint(green, "want "+short(f.Want)), v.paint(red, "have "+short(f.Have)))
}

func (v *view) text(property, want, have string) {
	v.line("  %-16s %s", printable(property), v.paint(dim, "(- deployed, + on the host)"))
	changes := lineDiff(want, have)
	if changes == nil {
		v.line("    want %s, have %s", plural(len(splitLines(want)), "line", "lines"), plural(len(splitLines(have)), "line", "lines"))
		return
	}
	for _, c := range changes {
		text := printable(c.text)
		switch c.mark {
		case '-':
			v.line("    %s", v.paint(green, "- "+text))
		case '+':
			v.line("    %s", v.paint(red, "+ "+text))
		case '~':
			v.line("    %s", v.paint(dim, "…"))
		default:
			v.line("    %s", v.paint(dim, "  "+text))
		}
	}
}

// short is a value on one line.
func short(value any) string {
	switch v := value.(type) {
	case nil:
		return "(none)"
	case string:
		if v == Secret || v == OtherSecret {
			return v
		}
		return strconv.Quote(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		return string(b)
	}
}

// printable shows what a terminal would obey: a host's file may hold anything.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
