package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// FetchError is an error of an address or a hub: a plain sentence and what to do. It holds no
// query of an address and no token.
type FetchError struct {
	URL     string // that was asked for, without its query
	Message string
	Hint    string // what to do, if that is known
	Err     error  // the cause, if any

	Unreachable bool // the server gave no answer at all

	temporary bool          // another try may succeed
	after     time.Duration // that the server asks to wait before
}

// Error is the address, the sentence and the hint.
func (e *FetchError) Error() string {
	text := "fetch " + e.URL + ": " + e.Message
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

func (e *FetchError) Unwrap() error { return e.Err }

func (e *FetchError) hint(text string) *FetchError {
	e.Hint = text
	return e
}

func (e *FetchError) because(err error) *FetchError {
	e.Err = err
	return e
}

// again says that another try may succeed.
func (e *FetchError) again() *FetchError {
	e.temporary = true
	return e
}

// unanswered is the error of a request that has got no answer. at is where it was sent.
func (c *client) unanswered(w where, at *url.URL, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e := c.noAnswer(w, at, err)
	e.Unreachable = true
	return e
}

func (c *client) noAnswer(w where, at *url.URL, err error) *FetchError {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		op          *net.OpError
	)
	host := at.Hostname()
	switch {
	case errors.Is(err, errSilent):
		return w.fail("%s didn't answer within %s", at.Host, c.silence).again()
	case errors.As(err, &certificate):
		e := w.fail("the certificate of %s isn't valid: %v", host, certificate.Err).because(err)
		if noRoots() {
			return e.hint("this machine has no CA certificates: install the package ca-certificates")
		}
		return e.hint("is it the right host? Certificates of your own CA go to the machine's store")
	case errors.As(err, &dns) && dns.IsNotFound:
		return w.fail("there is no host %s", host).hint("is its name right, and does this machine have a name server?").because(err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return w.fail("nothing answers at %s: connection refused", at.Host).because(err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return w.fail("%s closed the connection before it answered", at.Host).because(err).again()
	case errors.As(err, &op):
		return w.fail("can't connect to %s: %v", at.Host, op.Err).because(err).again()
	}
	return w.fail("no answer from %s: %v", at.Host, err).because(err).again()
}

// noRoots reports whether this machine trusts no certificate at all.
func noRoots() bool {
	roots, err := x509.SystemCertPool()
	return err != nil || roots.Equal(x509.NewCertPool())
}

// refusal is the error of an answer that isn't the file.
func (w where) refusal(a *answer) error {
	status := a.Status
	if text := a.linked.Get("X-Error-Message"); text != "" { // a hub's
		status += ": " + printable(text)
	}
	by := ""
	if host := a.Request.URL.Host; host != w.url.Host {
		by = ", by " + host
	}
	switch a.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return w.fail("it isn't there (%s%s)", status, by).hint("is the address right? " + upperFirst(w.tokenHint()))
	case http.StatusUnauthorized, http.StatusForbidden:
		return w.fail("access is refused (%s%s)", status, by).hint(w.tokenHint())
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		e := w.fail("the server fails (%s%s)", status, by).again()
		e.after = retryAfter(a.Header)
		return e
	}
	return w.fail("the server answers %s%s", status, by)
}

// tokenHint is what to do about something that may be private.
func (w where) tokenHint() string {
	switch {
	case w.token != "":
		return "does the token that is set give access to it?"
	case w.hub != "":
		return fmt.Sprintf("if it is private, note that the token is for %s alone, and that another hub is set by hub in the block models", w.hub)
	}
	return "if it is private, set the stack's secret llmhost:modelToken, or HF_TOKEN"
}

func upperFirst(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// printable is a text of a server's that may be shown.
func printable(text string) string {
	const most = 200
	var out strings.Builder
	for _, r := range text {
		if out.Len() >= most {
			break
		}
		if unicode.IsPrint(r) {
			out.WriteRune(r)
		}
	}
	return out.String()
}
