package remote

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatIsTriedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"network":          {newError(ErrUnreachable, "h", "", "refused", "", nil), true},
		"name server down": {newError(ErrUnreachable, "h", "", "dns", "", &net.DNSError{IsTemporary: true}), true},
		"no such name":     {newError(ErrUnreachable, "h", "", "dns", "", &net.DNSError{IsNotFound: true}), false},
		"host key":         {newError(ErrHostKey, "h", "", "changed", "", nil), false},
		"login":            {newError(ErrAuth, "h", "", "refused", "", nil), false},
		"cancelled":        {&Error{Err: context.Canceled}, false},
	} {
		attempts := 0
		err := retry(t.Context(), time.Minute, func(string) {}, func() error {
			attempts++
			if attempts == 2 {
				return nil
			}
			return tc.err
		})
		if again := attempts > 1; again != tc.want || (err == nil) != tc.want {
			t.Errorf("%s: tried again is %v, want %v (error %v)", name, again, tc.want, err)
		}
	}
}

func TestRetryEndsAtItsLimit(t *testing.T) {
	down := newError(ErrUnreachable, "h", "", "refused", "", nil)
	attempts := 0
	if err := retry(t.Context(), time.Nanosecond, func(string) {}, func() error { attempts++; return down }); err != down || attempts != 1 {
		t.Errorf("got %v after %d attempts, want the error after one", err, attempts)
	}
}

func TestJumpHosts(t *testing.T) {
	for spec, want := range map[string]Target{
		"bastion":                   {Address: "bastion"},
		"ops@bastion":               {Address: "bastion", User: "ops"},
		"ops@bastion:2222":          {Address: "bastion", User: "ops", Port: 2222},
		"ssh://ops@bastion:2222":    {Address: "bastion", User: "ops", Port: 2222},
		"[2001:db8::1]:2222":        {Address: "2001:db8::1", Port: 2222},
		"[2001:db8::1]":             {Address: "2001:db8::1"},
		"2001:db8::1":               {Address: "2001:db8::1"},
		" ops@bastion ":             {Address: "bastion", User: "ops"},
		"domain\\user@bastion:2222": {Address: "bastion", User: "domain\\user", Port: 2222},
	} {
		got, err := parseJump(spec)
		if err != nil {
			t.Errorf("%q: %v", spec, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", spec, diff)
		}
	}
	for _, spec := range []string{"", "ops@", "bastion:", "bastion:x", "-oProxyCommand=x", "a b"} {
		if got, err := parseJump(spec); err == nil {
			t.Errorf("%q was read as %+v", spec, got)
		}
	}
}
