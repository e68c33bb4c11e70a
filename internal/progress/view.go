package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/llmhost/llmhost/internal/transfer"
)

const (
	onTerminal = 100 * time.Millisecond // between two states of the line
	inLog      = 5 * time.Second        // between two lines
	barWidth   = 20
)

// View shows the progress of one transfer after another. It is safe for use by many at once; the
// nil View shows nothing.
type View struct {
	out    io.Writer
	width  func() int // columns of the terminal; nil: no terminal
	colour bool
	now    func() time.Time

	mu    sync.Mutex
	name  string
	meter Meter
	shown time.Time // when the last line was written, or the first report came
	live  bool      // the terminal's line holds our text
}

// New makes a view that writes to w. Colour is used on a terminal only.
func New(w io.Writer, colour bool) *View {
	v := &View{out: w, now: time.Now}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		v.colour = colour
		v.width = func() int {
			columns, _, err := term.GetSize(int(f.Fd()))
			if err != nil || columns < 1 {
				return 80
			}
			return columns
		}
	}
	return v
}

// Show takes a report about what is called name.
func (v *View) Show(name string, p transfer.Progress) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.now()
	fresh := name != v.name || p.Phase != v.meter.at.Phase
	if name != v.name {
		v.meter = Meter{}
	}
	v.name = name
	v.meter.Add(p, now)
	switch {
	case v.width != nil:
		if fresh || now.Sub(v.shown) >= onTerminal {
			v.shown, v.live = now, true
			fmt.Fprint(v.out, "\r\x1b[K"+v.line(v.width()))
		}
	case fresh:
		v.shown = now // what ends within seconds needs no line
	case now.Sub(v.shown) >= inLog:
		v.shown = now
		fmt.Fprintf(v.out, "%s %s: %s\n", Verb(p.Phase), printable(name), v.meter.String())
	}
}

// Clear removes the line from the terminal, before something else is written there.
func (v *View) Clear() {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.live {
		fmt.Fprint(v.out, "\r\x1b[K")
		v.live = false
	}
}

// line is the terminal's line, never wider than the terminal.
func (v *View) line(columns int) string {
	text := v.meter.String()
	head := Verb(v.meter.at.Phase) + " " + printable(v.name)
	// The last column stays free: some terminals wrap when it is filled.
	room := columns - 1 - utf8.RuneCountInString(text) - 2
	bar := ""
	if room >= 24+barWidth {
		bar = "  " + v.bar()
		room -= barWidth + 2
	}
	if room < 8 {
		return shorten(text, columns-1)
	}
	return shorten(head, room) + bar + "  " + text
}

func (v *View) bar() string {
	full := int(v.meter.fraction() * barWidth)
	done, rest := strings.Repeat("━", full), strings.Repeat("─", barWidth-full)
	if v.colour {
		return "\x1b[32m" + done + "\x1b[0m\x1b[2m" + rest + "\x1b[0m"
	}
	return done + rest
}

// printable keeps a name from moving the cursor or ending the line.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == utf8.RuneError {
			return '?'
		}
		return r
	}, name)
}

// shorten cuts a text to a number of columns, and shows that it did.
func shorten(text string, columns int) string {
	runes := []rune(text)
	if len(runes) <= columns {
		return text
	}
	return string(runes[:max(columns-1, 0)]) + "…"
}
