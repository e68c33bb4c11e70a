package remote

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

const (
	firstPause = 250 * time.Millisecond
	maxPause   = 5 * time.Second
)

// retry runs an attempt again while it fails for the network's sake, with growing pauses of
// random length so that many clients don't knock together. No attempt begins after limit.
func retry(ctx context.Context, limit time.Duration, log func(string), attempt func() error) error {
	start, said := time.Now(), false
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := attempt()
		if err == nil || !transient(err) {
			return err
		}
		wait := pause/2 + rand.N(pause/2+1)
		left := limit - time.Since(start)
		if wait > left {
			return err
		}
		if !said {
			said = true
			log(fmt.Sprintf("%s; trying again for %s", sentence(err), left.Round(time.Second)))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// transient is a failure that time may heal. A name that does not exist is a typing mistake.
func transient(err error) bool {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return false
	}
	return errors.Is(err, ErrUnreachable)
}

// sentence is an error's text without its hint.
func sentence(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return (&Error{Host: e.Host, Message: e.Message, Err: e.Err}).Error()
	}
	return err.Error()
}
