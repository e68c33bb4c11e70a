package local

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestDrainWaitsForRunningRequests(t *testing.T) {
	var asked atomic.Int32
	d, address := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slots" || r.Header.Get("Authorization") != "Bearer sesame" {
			t.Errorf("asked for %s with %q", r.URL, r.Header)
		}
		if asked.Add(1) < 3 {
			io.WriteString(w, `[{"id":0,"is_processing":false},{"id":1,"is_processing":true}]`)
			return
		}
		io.WriteString(w, `[{"id":0,"is_processing":false},{"id":1,"is_processing":false}]`)
	})
	var said strings.Builder
	Drain(t.Context(), address, "sesame", time.Minute, &said)
	if n := asked.Load(); n < 4 || said.String() != "no request runs\n" {
		t.Errorf("after %d questions: %s", n, said.String())
	}
	if _, err := d.Dial(t.Context(), address); err == nil {
		t.Error("new clients still find the socket")
	}
}

func TestDrainEnds(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		status int
		want   string
	}{
		"busy":        {`[{"is_processing":true}]`, 200, "requests still run after 1s and are cut off"},
		"no slots":    {`{"error":{"message":"This server does not support slots endpoint."}}`, 501, "isn't known, so they aren't waited for: the server answers 501"},
		"not a list":  {`<html>`, 200, "isn't known"},
		"needs a key": {`{"error":{"message":"Invalid API Key"}}`, 401, "Invalid API Key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, address := server(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				io.WriteString(w, test.answer)
			})
			var said strings.Builder
			Drain(t.Context(), address, "sesame", time.Second, &said)
			if !strings.Contains(said.String(), test.want) {
				t.Errorf("it says %q, want %q", said.String(), test.want)
			}
		})
	}
	var said strings.Builder
	Drain(t.Context(), "unix:/nowhere/a/llm.sock", "", time.Minute, &said)
	if !strings.Contains(said.String(), "isn't known") {
		t.Errorf("of a server that is gone it says %q", said.String())
	}
}
