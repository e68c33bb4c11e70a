package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"google.golang.org/grpc"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// dialBuffer is how much of a server's answer one message carries, in bytes. It is small, so
// that a streamed answer is shown as it comes and large ones leave room for other calls.
const dialBuffer = 32 << 10

// Dial connects to a server on the host and copies both ways. The end of one direction leaves
// the other open.
func (s *Server) Dial(stream grpc.BidiStreamingServer[agentpb.DialData, agentpb.DialData]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	conn, err := s.servers.Dial(stream.Context(), first.GetAddress())
	if err != nil {
		if fault.ReasonOf(err) != agentpb.Reason_REASON_UNSPECIFIED {
			return err
		}
		return fault.New(agentpb.Reason_REASON_UNSPECIFIED, "no server answers at %s: %v", first.GetAddress(), err).
			Hint("is its unit running?")
	}
	// The header says that the server has accepted; its first bytes may be long in coming.
	if err := stream.SendHeader(nil); err != nil {
		conn.Close()
		return err
	}
	var once sync.Once
	closeConn := func() { once.Do(func() { conn.Close() }) }
	defer closeConn()
	// A client that is gone reads no answer, and the server may be silent for long.
	defer context.AfterFunc(stream.Context(), closeConn)()

	go func() {
		if !send(stream, conn, first.GetData()) {
			closeConn()
		}
	}()
	return receive(stream, conn)
}

// send copies from the client to the server. It reports whether the client ended its direction
// in order.
func send(stream grpc.BidiStreamingServer[agentpb.DialData, agentpb.DialData], conn net.Conn, data []byte) bool {
	for {
		if _, err := conn.Write(data); err != nil {
			return true // the server reads no more, and may still have an answer
		}
		msg, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			if half, ok := conn.(interface{ CloseWrite() error }); ok {
				half.CloseWrite()
			}
			return true
		case err != nil:
			return false
		}
		data = msg.GetData()
	}
}

// receive copies from the server to the client until the server ends.
func receive(stream grpc.BidiStreamingServer[agentpb.DialData, agentpb.DialData], conn net.Conn) error {
	for {
		buf := make([]byte, dialBuffer)
		n, err := conn.Read(buf)
		if n > 0 {
			if err := stream.Send(&agentpb.DialData{Data: buf[:n]}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case stream.Context().Err() != nil:
			return stream.Context().Err()
		case err != nil:
			return fault.New(agentpb.Reason_REASON_UNSPECIFIED, "the server has broken the connection: %v", err)
		}
	}
}
