// Package docker asks Docker on the host what its containers are, and has Docker Compose change
// them.
//
// It exists because only Docker knows what really runs: a compose file says what was wanted. It
// reads Docker's API over its socket with a few types of its own, since the modules of Docker's
// client would double the agent, and it changes things by docker's own command line alone, so that
// what llmhost has applied is what `docker compose` would apply.
package docker

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// DefaultSocket is where Docker listens.
const DefaultSocket = "/run/docker.sock"

const (
	// answerTimeout bounds one question. Docker answers in milliseconds, and an emulated host in
	// seconds.
	answerTimeout = 30 * time.Second
	// maxAnswer is how much of an answer is read, in bytes.
	maxAnswer = 16 << 20
	// apiVersion is of Docker 20.10, which all of what is asked has been in since.
	apiVersion = "v1.41"
)

// Client asks Docker.
type Client struct {
	Socket string
}

// Installed reports whether anything of Docker is on the host. Where nothing is, nothing can run.
func (c Client) Installed(ctx context.Context) (bool, error) {
	err := c.Ping(ctx)
	if fault.ReasonOf(err) == agentpb.Reason_NO_TOOL {
		return false, nil
	}
	return err == nil, err
}

// Ping is an error unless Docker answers: NO_TOOL when it isn't there, and NO_ANSWER when it is
// there and doesn't answer.
func (c Client) Ping(ctx context.Context) error {
	_, err := c.get(ctx, "/_ping", nil)
	return err
}

func (c Client) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	within, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", c.Socket)
		},
	}
	defer transport.CloseIdleConnections()
	address := url.URL{Scheme: "http", Host: "docker", Path: "/" + apiVersion + path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(within, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &refusal{status: resp.StatusCode, message: message(body)}
	}
	return body, nil
}

// refusal is an answer of Docker's that isn't the one that was asked for.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return fmt.Sprintf("Docker answers %d: %s", r.status, r.message) }

func message(body []byte) string {
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) == nil && said.Message != "" {
		return said.Message
	}
	return strings.ToValidUTF8(string(body[:min(len(body), 200)]), "?")
}

// explain tells a Docker that isn't there from one that is there and doesn't answer.
func (c Client) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(agentpb.Reason_NO_TOOL, "Docker isn't there: the host has no %s", c.Socket).With("tool", "docker").
			Hint("install Docker and its Compose plugin on the host")
	case errors.Is(err, unix.ECONNREFUSED):
		return fault.New(agentpb.Reason_NO_ANSWER, "Docker doesn't answer: nothing listens on %s", c.Socket).
			Hint("systemctl start docker.socket docker.service, and see journalctl -u docker")
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(agentpb.Reason_NO_ANSWER, "Docker doesn't answer: it took the connection to %s and said nothing for %s", c.Socket, answerTimeout).
			Hint("see journalctl -u docker on the host")
	default:
		return fault.New(agentpb.Reason_NO_ANSWER, "Docker doesn't answer: %v", err).Hint("see journalctl -u docker on the host")
	}
}

// Labels that Compose puts on its containers.
const (
	labelProject    = "com.docker.compose.project"
	labelService    = "com.docker.compose.service"
	labelOneOff     = "com.docker.compose.oneoff"
	labelConfigHash = "com.docker.compose.config-hash"
)

// Containers are all containers of a compose project, those that don't run too.
func (c Client) Containers(ctx context.Context, project string) ([]*Container, error) {
	filters, err := json.Marshal(map[string][]string{"label": {labelProject + "=" + project}})
	if err != nil {
		return nil, err
	}
	body, err := c.get(ctx, "/containers/json", url.Values{"all": {"1"}, "filters": {string(filters)}})
	if err != nil {
		return nil, err
	}
	var listed []struct {
		ID string `json:"Id"`
	}
	if err := json.Unmarshal(body, &listed); err != nil {
		return nil, fmt.Errorf("read Docker's list of containers: %w", err)
	}
	var all []*Container
	for _, l := range listed {
		container, err := c.inspect(ctx, l.ID)
		if err != nil {
			return nil, err
		}
		if container != nil {
			all = append(all, container)
		}
	}
	return all, nil
}

// inspect describes a container, and is nil when it has gone meanwhile.
func (c Client) inspect(ctx context.Context, id string) (*Container, error) {
	body, err := c.get(ctx, "/containers/"+url.PathEscape(id)+"/json", nil)
	var refused *refusal
	if errors.As(err, &refused) && refused.status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parse(body)
}

// Log returns the last lines that a container has said, and nothing where they can't be had: it
// explains an error and isn't worth one.
func (c Client) Log(ctx context.Context, id string) []string {
	body, err := c.get(context.WithoutCancel(ctx), "/containers/"+url.PathEscape(id)+"/logs",
		url.Values{"stdout": {"1"}, "stderr": {"1"}, "tail": {"20"}})
	if err != nil {
		return nil
	}
	var lines []string
	for line := range strings.Lines(demultiplex(body)) {
		lines = append(lines, strings.ToValidUTF8(strings.TrimRight(line, "\r\n"), "?"))
	}
	return lines
}

// demultiplex joins the frames of a log without a terminal: one byte for the stream, three of
// zeros, and four for the length (Docker's API, ContainerAttach).
func demultiplex(body []byte) string {
	const header = 8
	var text strings.Builder
	for len(body) >= header {
		n := min(int(binary.BigEndian.Uint32(body[4:header])), len(body)-header)
		text.Write(body[header : header+n])
		body = body[header+n:]
	}
	return text.String()
}
