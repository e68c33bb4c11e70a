package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/llmhost/llmhost/internal/transfer"
)

const mib = 1 << 20

func send(done, sent, found uint64) transfer.Progress {
	return transfer.Progress{Phase: "send", Done: done * mib, Sent: sent * mib, Found: found * mib, Total: 1000 * mib}
}

func TestWhatAMeterSays(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for name, c := range map[string]struct {
		reports []transfer.Progress // a second apart
		want    string
	}{
		"nothing is known yet": {
			[]transfer.Progress{send(0, 0, 0)},
			"0 %, 0 B of 1000 MiB",
		},
		"a steady link": {
			[]transfer.Progress{send(0, 1, 0), send(100, 101, 0), send(200, 201, 0)},
			"20 %, 200 MiB of 1000 MiB, 100 MiB/s, 8 s left",
		},
		"what was there is no speed": {
			[]transfer.Progress{send(0, 0, 0), send(500, 0, 500), send(510, 10, 500), send(520, 20, 500)},
			"52 %, 520 MiB of 1000 MiB, 10 MiB/s, 48 s left, 500 MiB were there",
		},
		"never all before it is": {
			[]transfer.Progress{{Phase: "verify", Done: 999999, Total: 1000000}},
			"99 %, 977 KiB of 977 KiB",
		},
		"an empty file": {
			[]transfer.Progress{{Phase: "send"}},
			"0 %, 0 B of 0 B",
		},
		"another phase begins anew": {
			[]transfer.Progress{send(0, 1, 0), send(1000, 1001, 0), {Phase: "hash", Total: 1000 * mib}, {Phase: "hash", Done: 50 * mib, Total: 1000 * mib}},
			"5 %, 50 MiB of 1000 MiB, 50 MiB/s, 19 s left",
		},
	} {
		var m Meter
		for i, p := range c.reports {
			m.Add(p, at(i))
		}
		if got := m.String(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A link that became slow shows as slow after the window, and not as its average since the start.
func TestTheRateIsThatOfNow(t *testing.T) {
	var m Meter
	now := time.Unix(0, 0)
	var done uint64
	for i := range 600 {
		speed := uint64(50)
		if i >= 300 {
			speed = 2
		}
		done += speed * mib / 10
		now = now.Add(100 * time.Millisecond)
		m.Add(transfer.Progress{Phase: "send", Done: done, Sent: done, Total: 10000 * mib}, now)
	}
	if rate := m.Rate() / mib; rate < 1.9 || rate > 2.1 {
		t.Errorf("%.2f MiB/s, want 2", rate)
	}
	if len(m.samples) > 120 {
		t.Errorf("%d samples are kept", len(m.samples))
	}
}

func TestDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 400 * time.Millisecond: "0 s", 59600 * time.Millisecond: "1 min 0 s",
		3*time.Hour + 5*time.Minute: "3 h 5 min", 240 * time.Hour: "240 h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestALogGetsALineNowAndThen(t *testing.T) {
	var out bytes.Buffer
	v := New(&out, true)
	now := time.Unix(0, 0)
	v.now = func() time.Time { return now }
	for i := range 120 {
		v.Show("tiny\n.gguf", send(uint64(i), uint64(i+1), 0))
		now = now.Add(100 * time.Millisecond)
	}
	v.Clear()
	want := "sending tiny?.gguf: 5 %, 50 MiB of 1000 MiB, 10 MiB/s, 1 min 35 s left\n" +
		"sending tiny?.gguf: 10 %, 100 MiB of 1000 MiB, 10 MiB/s, 1 min 30 s left\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// Whatever the name and the width, the line fits, and nothing of it is left afterwards.
func TestTheTerminalsLineFits(t *testing.T) {
	for _, name := range []string{"m", "модель.gguf", strings.Repeat("long", 50), "a\x1b[2Jb\r\n\u009b"} {
		for _, columns := range []int{1, 10, 40, 80, 100, 200} {
			var out bytes.Buffer
			v := New(&out, false)
			v.width = func() int { return columns }
			v.Show(name, send(500, 500, 0))
			line, found := strings.CutPrefix(out.String(), "\r\x1b[K")
			if !found || utf8.RuneCountInString(line) >= max(columns, 2) || strings.ContainsAny(line, "\x1b\r\n\u009b") {
				t.Errorf("%d columns: %q", columns, line)
			}
			out.Reset()
			v.Clear()
			v.Clear()
			if out.String() != "\r\x1b[K" {
				t.Errorf("cleared by %q", out.String())
			}
		}
	}
}
