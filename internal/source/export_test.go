package source

import (
	"testing"
	"time"
)

// SetSettled replaces how long a file must have been left alone.
func SetSettled(t *testing.T, d time.Duration) {
	was := settled
	settled = d
	t.Cleanup(func() { settled = was })
}
