package agent_test

import (
	"io"
	"net"
	"strings"
	"testing"

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
