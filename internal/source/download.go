package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/llmhost/llmhost/internal/transfer"
)

// download reads a file at an address from an offset on. It asks when it is first read, and after
// a cut it goes on at the byte that is due.
type download struct {
	client *client
	remoteFile
	ctx    context.Context
	cancel context.CancelFunc

	at, size uint64
	body     io.ReadCloser // nil: none is open
	end      uint64        // where body ends
	begun    bool          // something has arrived
	failures int           // since the last byte
}

func (d *download) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if d.at == d.size {
			return 0, io.EOF
		}
		if d.body == nil {
			if err := d.connect(); err != nil {
				if err := d.pause(err); err != nil {
					return 0, err
				}
				continue
			}
		}
		n, err := d.body.Read(p[:min(uint64(len(p)), d.end-d.at)])
		if n > 0 {
			d.at += uint64(n)
			d.begun, d.failures = true, 0
			if d.at == d.end {
				d.hangUp()
			}
			return n, nil // an error comes again
		}
		if err != nil {
			d.hangUp()
			if err := d.pause(d.cut(err)); err != nil {
				return 0, err
			}
		}
	}
}

// pause waits before the next try, or returns the error that ends the download.
func (d *download) pause(failure error) error {
	d.failures++
	var e *FetchError
	if d.begun && errors.As(failure, &e) && e.Unreachable { // it was reached before
		e.temporary = true
	}
	return d.client.pause(d.ctx, d.failures, triesToRead, failure)
}

// cut is the error of a body that has ended too early.
func (d *download) cut(err error) error {
	after := fmt.Sprintf("after %d of %d bytes", d.at, d.size)
	switch {
	case d.ctx.Err() != nil:
		return d.ctx.Err()
	case errors.Is(err, errSilent):
		return d.fail("the server fell silent for %s, %s", d.client.silence, after).again()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return d.fail("the connection ended %s", after).because(io.ErrUnexpectedEOF).again()
	}
	return d.fail("the connection broke %s: %v", after, err).because(err).again()
}

// connect asks for the rest of the file.
func (d *download) connect() error {
	header := http.Header{}
	if d.at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", d.at))
		if condition := d.edition.condition(); condition != "" {
			header.Set("If-Range", condition)
		}
	}
	a, err := d.client.get(d.ctx, d.where, header)
	if err != nil {
		return err
	}
	if err := d.accept(a); err != nil {
		a.body.Close()
		return err
	}
	return nil
}

// accept takes an answer as the body, if it is the right part of the right file.
func (d *download) accept(a *answer) error {
	if a.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return d.changed("it has no byte %d any more", d.at)
	}
	if err := d.checkContent(a); err != nil {
		return err
	}
	switch is := a.edition(); d.edition {
	case edition{}: // of what was listed elsewhere
		d.edition = is
	case is:
	default:
		return d.changed("it is another version than before")
	}
	switch a.StatusCode {
	case http.StatusOK: // the whole file
		if a.ContentLength >= 0 && uint64(a.ContentLength) != d.size {
			return d.changed("it has %d bytes now, and had %d", a.ContentLength, d.size)
		}
		d.body, d.end = a.body, d.size
		return d.skip()
	case http.StatusPartialContent:
		r, ok := parseContentRange(a.Header.Get("Content-Range"))
		if ok && r.total >= 0 && uint64(r.total) != d.size {
			return d.changed("it has %d bytes now, and had %d", r.total, d.size)
		}
		length := r.last - r.first + 1
		if !ok || r.first < 0 || uint64(r.first) != d.at || uint64(r.last) >= d.size || a.ContentLength >= 0 && a.ContentLength != length {
			return d.fail("the server answers the range bytes=%d- with %q and %d bytes", d.at, printable(a.Header.Get("Content-Range")), a.ContentLength)
		}
		d.body, d.end = a.body, uint64(r.last)+1
		return nil
	}
	return d.fail("the server answers %s", a.Status)
}

// skip reads up to where the download is, of a server that knows no ranges.
func (d *download) skip() error {
	n, err := io.CopyN(io.Discard, d.body, int64(d.at))
	if err != nil {
		d.body = nil
		if d.ctx.Err() == nil && n < int64(d.at) {
			return d.fail("the connection ended after %d of the %d bytes that it had given before, and the server can't go on in the middle", n, d.at).
				because(io.ErrUnexpectedEOF).again()
		}
		return d.cut(err)
	}
	return nil
}

func (d *download) changed(format string, args ...any) error {
	return d.fail("%v: %s", transfer.ErrChanged, fmt.Sprintf(format, args...)).because(transfer.ErrChanged)
}

func (d *download) hangUp() {
	if d.body != nil {
		d.body.Close()
		d.body = nil
	}
}

func (d *download) Close() error {
	d.hangUp()
	d.cancel()
	return nil
}
