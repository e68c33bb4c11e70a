package lab

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
)

// progress tells a person what takes long: on a terminal one line a step with its seconds
// counting, elsewhere a line when the step begins and one when it has ended.
type progress struct {
	w        io.Writer
	terminal bool
}

func newProgress(w io.Writer) *progress {
	if w == nil {
		w = io.Discard
	}
	f, ok := w.(*os.File)
	return &progress{w: w, terminal: ok && isatty.IsTerminal(f.Fd())}
}

func (p *progress) say(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

// step begins a step; the function that it returns ends it.
func (p *progress) step(what string) (done func()) {
	start := time.Now()
	if !p.terminal {
		p.say("%s …", what)
		return func() { p.say("%s: %s", what, elapsed(start)) }
	}
	stop := make(chan struct{})
	var drawing sync.WaitGroup
	drawing.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			fmt.Fprintf(p.w, "\r\x1b[K%s … %.0f s", what, time.Since(start).Seconds())
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		close(stop)
		drawing.Wait()
		fmt.Fprintf(p.w, "\r\x1b[K%s: %s\n", what, elapsed(start))
	}
}

func elapsed(since time.Time) string { return fmt.Sprintf("%.1f s", time.Since(since).Seconds()) }
