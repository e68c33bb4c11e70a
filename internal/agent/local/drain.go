package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// lookEvery is how often a server is asked whether requests still run.
const lookEvery = 250 * time.Millisecond

// Drain returns when no request runs at a model server, or when its time is over. New clients find
// a Unix socket no more; those that are connected go on. What can't be found out isn't waited for:
// the server is about to be stopped, whatever the reason. It says on out what it has done. A key is
// sent unless it is empty.
//
// It runs as the server's user and in its sandbox, so that it needs no care where a path leads.
func Drain(ctx context.Context, address, key string, limit time.Duration, out io.Writer) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		hidden := path + ".draining"
		if err := os.Rename(path, hidden); err != nil {
			fmt.Fprintf(out, "new requests aren't held off: %v\n", err)
		} else {
			address = "unix:" + hidden
		}
	}
	// A request that waited for a slot gets one a moment after another has ended.
	for idle := 0; idle < 2; {
		n, err := running(ctx, address, key)
		switch {
		case ctx.Err() != nil:
			fmt.Fprintf(out, "requests still run after %s and are cut off\n", limit)
			return
		case err != nil:
			fmt.Fprintf(out, "whether requests run isn't known, so they aren't waited for: %v\n", err)
			return
		case n == 0:
			idle++
		default:
			idle = 0
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
	fmt.Fprintln(out, "no request runs")
}

// running asks a server that lists its slots how many of them are at work.
func running(ctx context.Context, address, key string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/slots", nil)
	if err != nil {
		return 0, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			network, rest, _ := strings.Cut(address, ":")
			return (&net.Dialer{}).DialContext(ctx, network, rest)
		},
	}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, fmt.Errorf("read the server's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the server answers %s: %s", resp.Status, message(answer))
	}
	var slots []struct {
		Processing bool `json:"is_processing"`
	}
	if err := json.Unmarshal(answer, &slots); err != nil {
		return 0, fmt.Errorf("the server's answer is no list of slots: %w", err)
	}
	running := 0
	for _, s := range slots {
		if s.Processing {
			running++
		}
	}
	return running, nil
}
