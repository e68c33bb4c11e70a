// Package progress shows people how far something long is: how much is done, how fast it goes
// and how long it will still take.
//
// It exists because a model takes minutes to hours on its way, and every verb that moves or reads
// one should say the same things about it: on a terminal one line that is kept up to date, in a
// log a line now and then.
package progress

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/llmhost/llmhost/internal/transfer"
)

// window is how far back the rate looks: long enough that a pause of the disk doesn't show as
// hours left, short enough that a link which has become slow does.
const window = 10 * time.Second

// Meter words the reports of one transfer. The zero value is ready.
type Meter struct {
	at      transfer.Progress
	samples []sample
}

type sample struct {
	when       time.Time
	done, sent uint64
}

// Add takes the next report, made at the given time.
func (m *Meter) Add(p transfer.Progress, now time.Time) {
	if p.Phase != m.at.Phase {
		m.samples = m.samples[:0]
	}
	m.at = p
	if moves(p.Phase) && p.Sent == 0 {
		m.samples = m.samples[:0] // what was there already says nothing about the link
	}
	for len(m.samples) > 1 && now.Sub(m.samples[1].when) >= window {
		m.samples = m.samples[1:]
	}
	// Ten a second are enough for any window.
	if n := len(m.samples); n > 1 && now.Sub(m.samples[n-2].when) < 100*time.Millisecond {
		m.samples = m.samples[:n-1]
	}
	m.samples = append(m.samples, sample{now, p.Done, p.Sent})
}

// moves reports whether a phase sends bytes over a wire.
func moves(phase string) bool { return phase == "send" || phase == "fetch" }

// speeds are bytes a second in the window: what was done, and what went over the wire.
func (m *Meter) speeds() (done, sent float64) {
	if len(m.samples) < 2 {
		return 0, 0
	}
	first, last := m.samples[0], m.samples[len(m.samples)-1]
	seconds := last.when.Sub(first.when).Seconds()
	if seconds < 0.2 || last.done < first.done || last.sent < first.sent {
		return 0, 0
	}
	return float64(last.done-first.done) / seconds, float64(last.sent-first.sent) / seconds
}

// Rate is how fast it goes in bytes a second, over the wire where there is one. It is 0 while
// that isn't known yet.
func (m *Meter) Rate() float64 {
	done, sent := m.speeds()
	if moves(m.at.Phase) {
		return sent
	}
	return done
}

// Left is how long it will still take; ok is false while nobody can know.
func (m *Meter) Left() (left time.Duration, ok bool) {
	done, _ := m.speeds()
	if done < 1 || m.at.Total < m.at.Done {
		return 0, false
	}
	return time.Duration(float64(m.at.Total-m.at.Done) / done * float64(time.Second)), true
}

// fraction is how much is done, from 0 to 1.
func (m *Meter) fraction() float64 {
	if m.at.Total == 0 {
		return 0
	}
	return min(1, float64(m.at.Done)/float64(m.at.Total))
}

// String is one line: "45 %, 1.1 GiB of 2.4 GiB, 310 MiB/s, 4 s left, 812 MiB were there".
func (m *Meter) String() string {
	return strings.Join(m.words(), ", ")
}

func (m *Meter) words() []string {
	// Never 100 % before it is: rounding down is the honest direction.
	words := []string{
		fmt.Sprintf("%d %%", int(m.fraction()*100)),
		humanize.IBytes(m.at.Done) + " of " + humanize.IBytes(m.at.Total),
	}
	if rate := m.Rate(); rate >= 1 {
		words = append(words, humanize.IBytes(uint64(rate))+"/s")
	}
	if left, ok := m.Left(); ok {
		words = append(words, Duration(left)+" left")
	}
	if m.at.Found > 0 {
		words = append(words, humanize.IBytes(m.at.Found)+" were there")
	}
	return words
}

// Verb is what a phase does, for the beginning of a line.
func Verb(phase string) string {
	switch phase {
	case "send":
		return "sending"
	case "fetch":
		return "fetching"
	case "compare":
		return "comparing"
	case "hash":
		return "hashing"
	case "copy":
		return "copying"
	case "verify":
		return "verifying"
	default:
		return phase
	}
}

// Duration is a time as people say it, with one or two units: 4 s, 2 min 10 s, 3 h 5 min.
func Duration(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case h >= 100:
		return fmt.Sprintf("%d h", h)
	case h > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	case m > 0:
		return fmt.Sprintf("%d min %d s", m, s)
	default:
		return fmt.Sprintf("%d s", s)
	}
}
