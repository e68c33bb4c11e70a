package agent_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/llmhost/llmhost/internal/agent"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// A server that answers only when it has read all is one that needs the half-closed connection.
func TestDialCopiesBothWays(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		all, err := io.ReadAll(conn)
		if err == nil {
			conn.Write([]byte(strings.ToUpper(string(all))))
		}
	}()
	c := newHost(t).connect()
	stream, err := c.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sent := strings.Repeat("abc", 100_000)
	if err := stream.Send(&agentpb.DialData{Address: "tcp:" + l.Addr().String(), Data: []byte("first ")}); err != nil {
		t.Fatal(err)
	}
	for rest := sent; rest != ""; {
		n := min(len(rest), 10_000)
		if err := stream.Send(&agentpb.DialData{Data: []byte(rest[:n])}); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for {
		msg, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got.Write(msg.GetData())
	}
	if want := "FIRST " + strings.ToUpper(sent); got.String() != want {
		t.Errorf("got %d bytes, want %d", got.Len(), len(want))
	}
}

// silentClient has sent a request and the end of its direction, and then waits.
type silentClient struct {
	grpc.ServerStream
	ctx  context.Context
	sent []*agentpb.DialData
}

func (s *silentClient) Context() context.Context     { return s.ctx }
func (s *silentClient) SendHeader(metadata.MD) error { return nil }
func (s *silentClient) Send(*agentpb.DialData) error { return nil }
func (s *silentClient) Recv() (*agentpb.DialData, error) {
	if len(s.sent) == 0 {
		return nil, io.EOF
	}
	first := s.sent[0]
	s.sent = s.sent[1:]
	return first, nil
}

// A client that has sent all that it had and then goes takes its connection along, also while
// the server is silent: it computes an answer for nobody.
func TestDialEndsWithItsClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	read, end := make(chan error, 1), make(chan struct{})
	defer close(end)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			read <- err
			return
		}
		defer conn.Close()
		_, err = io.ReadAll(conn)
		read <- err
		<-end
	}()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client := &silentClient{ctx: ctx, sent: []*agentpb.DialData{{Address: "tcp:" + l.Addr().String(), Data: []byte("request")}}}
	ended := make(chan error, 1)
	go func() { ended <- agent.NewServer(agent.Options{StateDir: t.TempDir()}).Dial(client) }()
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the connection is still there")
	}
}

func TestDialRefusesTheRestOfTheWorld(t *testing.T) {
	c := newHost(t).connect()
	for address, want := range map[string]agentpb.Reason{
		"tcp:192.0.2.1:80": agentpb.Reason_INVALID, "unix:/run/docker.sock": agentpb.Reason_INVALID, "tcp:127.0.0.1:1": agentpb.Reason_REASON_UNSPECIFIED,
	} {
		stream, err := c.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&agentpb.DialData{Address: address}); err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		wantReason(t, err, want)
	}
}
