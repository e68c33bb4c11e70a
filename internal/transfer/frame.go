package transfer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// Preface is what a client sends first on a lane. gRPC's begins with "PRI", so the first byte
// tells the two apart.
const Preface = "LLMHOST-LANE/1\n"

// A frame is a head of 8 bytes (the kind, three zeros, the length of what follows, big-endian)
// and what follows: for data a place and the bytes, for zeros a place and a length, for a
// copy two places and a length, for a base's chunks entries of the chunk package, else a
// message of lane.proto.
const (
	headSize  = 8
	placeSize = 12 // file (4 bytes), offset (8 bytes)

	// pieceSize is the most that one data frame carries, in bytes: large enough that frames
	// cost nothing, small enough that a cut loses little.
	pieceSize = 1 << 20

	// maxMessage bounds a message, in bytes: a header with maxFiles names.
	maxMessage = 16 << 20
	// maxFiles bounds the files of a folder. The largest repositories of models have some
	// hundreds.
	maxFiles = 1 << 16
)

type kind byte

const (
	kindOpen     kind = 'O' // client: LaneOpen
	kindData     kind = 'D' // client: place, bytes
	kindZero     kind = 'Z' // client: place, length (8 bytes)
	kindCopy     kind = 'C' // client: place, place in the base, length (8 bytes)
	kindCompare  kind = 'Q' // client: LaneCompare
	kindEnd      kind = 'E' // client: LaneEnd
	kindBeat     kind = 'B' // client: nothing; it lives
	kindPlan     kind = 'P' // agent: LanePlan
	kindSketch   kind = 'K' // agent: a sketch of the base
	kindIndex    kind = 'I' // agent: chunks of the base; empty: all were sent that there are
	kindNeed     kind = 'N' // agent: LaneNeed
	kindProgress kind = 'S' // agent: LaneProgress
	kindDone     kind = 'F' // agent: LaneDone
	kindError    kind = 'X' // agent: google.rpc.Status
)

// place is where bytes belong.
type place struct {
	file   int
	offset uint64
}

func putHead(b []byte, k kind, length int) {
	b[0], b[1], b[2], b[3] = byte(k), 0, 0, 0
	binary.BigEndian.PutUint32(b[4:], uint32(length))
}

func putPlace(b []byte, at place) {
	binary.BigEndian.PutUint32(b, uint32(at.file))
	binary.BigEndian.PutUint64(b[4:], at.offset)
}

func getPlace(b []byte) place {
	return place{file: int(binary.BigEndian.Uint32(b)), offset: binary.BigEndian.Uint64(b[4:])}
}

// readHead reads the head of the next frame. io.EOF means an end between two frames.
func readHead(r io.Reader) (kind, int, error) {
	var b [headSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, 0, err
	}
	length := binary.BigEndian.Uint32(b[4:])
	if b[1]|b[2]|b[3] != 0 || length > maxMessage {
		return 0, 0, broken("no frame begins with % x", b)
	}
	return kind(b[0]), int(length), nil
}

// errProtocol is what a peer says that this llmhost doesn't understand.
var errProtocol = errors.New("the other side does not speak this protocol")

// broken is an error of the protocol, with what the peer has said.
func broken(format string, args ...any) error {
	e := fault.New(agentpb.Reason_INVALID, "%v: %s", errProtocol, fmt.Sprintf(format, args...))
	e.Err = errProtocol
	return e
}

// readMessage reads the rest of a frame that holds a message.
func readMessage(r io.Reader, length int, m proto.Message) error {
	b := make([]byte, length)
	if _, err := io.ReadFull(r, b); err != nil {
		return unexpected(err)
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return broken("%v", err)
	}
	return nil
}

// unexpected is an end within a frame.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// message is a frame that holds a message; nil for an empty one.
func message(k kind, m proto.Message) ([]byte, error) {
	b := make([]byte, headSize, 256)
	if m != nil {
		var err error
		if b, err = (proto.MarshalOptions{}).MarshalAppend(b, m); err != nil {
			return nil, err
		}
	}
	if len(b)-headSize > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes is too long", len(b)-headSize)
	}
	putHead(b, k, len(b)-headSize)
	return b, nil
}

// ranges is a list of spans as the protocol has it.
func ranges(file int, spans []span) []*agentpb.LaneRange {
	out := make([]*agentpb.LaneRange, 0, len(spans))
	for _, s := range spans {
		out = append(out, &agentpb.LaneRange{File: uint32(file), Offset: s.start, Length: s.end - s.start})
	}
	return out
}
