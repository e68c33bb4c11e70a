package provider

import (
	"testing"
	"time"
)

func TestProgressLine(t *testing.T) {
	p := newProgress("a.gguf", 40<<30)
	if line, due := p.line(1, p.begun.Add(500*time.Millisecond)); due {
		t.Errorf("a line after half a second: %s", line)
	}
	line, due := p.line(10<<30, p.begun.Add(100*time.Second))
	if want := "a.gguf: 10 GiB of 40 GiB, 102 MiB/s, 5m0s left"; !due || line != want {
		t.Errorf("got %q, want %q", line, want)
	}
	if line, due := p.line(11<<30, p.begun.Add(100*time.Second+time.Millisecond)); due {
		t.Errorf("two lines within a second: %s", line)
	}
}
