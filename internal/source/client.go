package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/version"
)

// How long a server is waited for. What counts is silence, not how long a download takes: a
// connection that moves at all isn't ended.
const (
	silence      = time.Minute      // until the next byte
	connectLimit = 30 * time.Second // for a connection, and for TLS
	firstDelay   = time.Second      // before the second try; it doubles up to maxDelay
	maxDelay     = 30 * time.Second
	maxAsked     = 2 * time.Minute // a longer Retry-After is cut to this
	triesToOpen  = 3               // somebody waits for the answer
	triesToRead  = 8               // without a byte in between, so about 90 s of an origin that is away
	maxRedirects = 10
)

// client asks servers for files.
type client struct {
	web      http.RoundTripper
	loopback http.RoundTripper // the only one that speaks without TLS

	silence, firstDelay time.Duration

	mu      sync.Mutex
	refused map[string]bool // hosts that give no answer without a token
}

// newClient makes a client. proxy is as http.Transport has it; nil: none.
func newClient(proxy func(*http.Request) (*url.URL, error)) *client {
	dialer := &net.Dialer{Timeout: connectLimit}
	// One HTTP/2 connection would share its window of 4 MiB among all streams, and HTTP/1.1 has TCP's.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	transport := &http.Transport{
		Proxy:               proxy,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: connectLimit,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     connectLimit,
		DisableCompression:  true,
		ReadBufferSize:      64 << 10,
		Protocols:           &protocols,
	}
	loopback := transport.Clone()
	loopback.Proxy = nil
	local := *dialer
	local.Control = onlyLoopback
	loopback.DialContext = local.DialContext
	return &client{web: transport, loopback: loopback, silence: silence, firstDelay: firstDelay, refused: map[string]bool{}}
}

// onlyLoopback refuses a connection to another machine, whatever a name has been resolved to.
func onlyLoopback(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s isn't this machine, and only this machine is asked without encryption", host)
	}
	return nil
}

func (c *client) close() {
	for _, t := range []http.RoundTripper{c.web, c.loopback} {
		if t, ok := t.(*http.Transport); ok {
			t.CloseIdleConnections()
		}
	}
}

// where is an address and what is needed to be answered there.
type where struct {
	url   *url.URL
	token string
	hub   string // the host that the token is for instead, if there is one
}

// parseAddress checks an address and a token.
func parseAddress(address, token string) (where, error) {
	u, err := url.Parse(address)
	if err != nil {
		return where{}, errors.New("the address of a model isn't valid") // it may hold a secret
	}
	if u.Path == "" {
		u.Path = "/" // JoinPath makes a relative path of none
	}
	w := where{url: u, token: strings.TrimSpace(token)}
	switch {
	case u.Hostname() == "":
		return where{}, w.fail("the address has no host")
	case u.Scheme != "https" && u.Scheme != "http":
		return where{}, w.fail("the address is neither https nor http")
	case u.Scheme == "http" && !modelfile.Loopback(u.Hostname()):
		return where{}, w.fail("the address isn't encrypted").hint("write https://; only this machine itself is asked by http")
	case u.User != nil:
		return where{}, w.fail("the address has a user name or a password in it").hint("set the stack's secret llmhost:modelToken, or HF_TOKEN, instead")
	case strings.ContainsFunc(w.token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return where{}, w.fail("the token has characters that no token has").hint("set it again, without line breaks")
	}
	return w, nil
}

// name is the address as it may be shown: a query often is, or holds, a secret.
func (w where) name() string { return shown(w.url) }

func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func (w where) fail(format string, args ...any) *FetchError {
	return &FetchError{URL: w.name(), Message: fmt.Sprintf(format, args...)}
}

// origin is what a token belongs to.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// answer is what a server sent, after redirects.
type answer struct {
	*http.Response
	linked http.Header // of the answer that redirected first, else the answer's own
	body   *watched
}

// get asks for an address, with the token only if it is refused without. The caller closes the
// answer's body. An answer that isn't 2xx, or 416, is an error.
func (c *client) get(ctx context.Context, w where, header http.Header) (*answer, error) {
	c.mu.Lock()
	withToken := w.token != "" && c.refused[origin(w.url)]
	c.mu.Unlock()
	a, err := c.follow(ctx, w, header, withToken)
	if err != nil {
		return nil, err
	}
	if mayNeedToken(a.StatusCode) && w.token != "" && !withToken {
		a.body.Close()
		if a, err = c.follow(ctx, w, header, true); err != nil {
			return nil, err
		}
		if !mayNeedToken(a.StatusCode) {
			c.mu.Lock()
			c.refused[origin(w.url)] = true
			c.mu.Unlock()
		}
	}
	if a.StatusCode/100 != 2 && a.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		a.body.Close()
		return nil, w.refusal(a)
	}
	return a, nil
}

// mayNeedToken reports whether a status may be another with a token. What is private is often
// "not found", and who isn't known may ask less often.
func mayNeedToken(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests:
		return true
	}
	return false
}

// follow asks, and follows redirects. They are followed here and not by net/http, which would
// send a token to other hosts of the same domain, and addresses with their queries as a referrer
// and in errors.
func (c *client) follow(ctx context.Context, w where, header http.Header, withToken bool) (*answer, error) {
	at := w.url
	var linked http.Header
	for range maxRedirects + 1 {
		req := (&http.Request{Method: http.MethodGet, URL: at, Host: at.Host, Header: header.Clone()})
		if req.Header == nil {
			req.Header = http.Header{}
		}
		req.Header.Set("User-Agent", "llmhost/"+version.Version)
		req.Header.Set("Accept-Encoding", "identity")
		if withToken && origin(at) == origin(w.url) {
			req.Header.Set("Authorization", "Bearer "+w.token)
		}
		resp, body, err := c.ask(ctx, req)
		if err != nil {
			return nil, c.unanswered(w, at, err)
		}
		if linked == nil {
			linked = resp.Header
		}
		location := resp.Header.Get("Location")
		if !isRedirect(resp.StatusCode) || location == "" {
			return &answer{Response: resp, linked: linked, body: body}, nil
		}
		body.Close()
		next, err := at.Parse(location)
		switch {
		case err != nil || next.Hostname() == "" || next.Scheme != "https" && next.Scheme != "http":
			return nil, w.fail("%s redirects to what isn't an address", at.Host)
		case next.Scheme == "http" && (at.Scheme == "https" || !modelfile.Loopback(next.Hostname())):
			return nil, w.fail("%s redirects to %s without encryption", at.Host, next.Host)
		}
		next.User = nil
		at = next
	}
	return nil, w.fail("it redirects more than %d times", maxRedirects)
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

var errSilent = errors.New("silent")

// ask sends one request. A server that is silent for too long, now or in the middle of the body,
// is given up.
func (c *client) ask(ctx context.Context, req *http.Request) (*http.Response, *watched, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	body := &watched{ctx: ctx, cancel: cancel, silence: c.silence}
	body.timer = time.AfterFunc(c.silence, func() { cancel(errSilent) })
	transport := c.web
	if req.URL.Scheme == "http" {
		transport = c.loopback
	}
	resp, err := transport.RoundTrip(req.WithContext(ctx))
	body.timer.Stop()
	if err != nil {
		err = body.cause(err)
		cancel(nil)
		return nil, nil, err
	}
	body.body = resp.Body
	return resp, body, nil
}

// watched is the body of an answer.
type watched struct {
	body    io.ReadCloser
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	silence time.Duration
}

// Read counts silence only while somebody waits for bytes.
func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.silence)
	n, err := w.body.Read(p)
	w.timer.Stop()
	if err != nil && err != io.EOF {
		err = w.cause(err)
	}
	return n, err
}

// cause is why a request ended, if it was ended from here.
func (w *watched) cause(err error) error {
	if cause := context.Cause(w.ctx); cause != nil {
		return cause
	}
	return err
}

func (w *watched) Close() error {
	w.timer.Stop()
	w.cancel(nil)
	return w.body.Close()
}

// retry runs an attempt until it succeeds, fails for good, or has failed for as many times as are
// allowed.
func (c *client) retry(ctx context.Context, tries int, attempt func() error) error {
	for n := 1; ; n++ {
		err := attempt()
		if err == nil {
			return nil
		}
		if err := c.pause(ctx, n, tries, err); err != nil {
			return err
		}
	}
}

// pause waits after the nth failure, or returns the error that it is if no other try is due.
func (c *client) pause(ctx context.Context, n, tries int, failure error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *FetchError
	if !errors.As(failure, &e) || !e.temporary {
		return failure
	}
	if n >= tries {
		out := *e
		out.Message += fmt.Sprintf(" (the last of %d tries)", tries)
		return &out
	}
	wait := min(c.firstDelay<<(n-1), maxDelay)
	wait = max(wait, min(e.after, maxAsked))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// retryAfter is how long a server asks to be left alone.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
