package transfer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/transfer"
)

// frame is a frame as the wire has it.
func frame(kind byte, payload []byte) []byte {
	b := []byte{kind, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

func at(file uint32, offset uint64, rest ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, file)
	return append(binary.BigEndian.AppendUint64(b, offset), rest...)
}

func mustMarshal(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

func opening(h *agentpb.ModelHeader) []byte {
	return append([]byte(transfer.Preface), frame('O', mustMarshal(&agentpb.LaneOpen{Header: h}))...)
}

// converse sends bytes to a receiver and returns what it answers, until it ends or has nothing
// more to say.
func (h *host) converse(sent ...[]byte) string {
	h.t.Helper()
	ours, theirs := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.serve(theirs)
	}()
	var said bytes.Buffer
	first, answered := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(answered)
		head := make([]byte, 1)
		n, _ := ours.Read(head) // of the plan, or of an error
		said.Write(head[:n])
		close(first)
		_, _ = io.Copy(&said, ours)
	}()
	for i, b := range sent {
		if _, err := ours.Write(b); err != nil {
			break
		}
		if i == 0 {
			select {
			case <-first:
			case <-time.After(time.Second):
			}
		}
	}
	select { // an error ends it; else the end of the connection does
	case <-ended:
	case <-time.After(400 * time.Millisecond):
	}
	ours.Close()
	<-ended
	<-answered
	return said.String()
}

func TestHostileClient(t *testing.T) {
	content := []byte(strings.Repeat("0123456789", 100))
	one := &agentpb.ModelHeader{Path: "/m.gguf", Sha256: sum(content), Size: 1000, Mode: 0o640,
		Files: []*agentpb.ModelFile{{Size: 1000}}}
	data := func(offset uint64, b []byte) []byte { return frame('D', at(0, offset, b...)) }
	end := frame('E', nil)
	for name, c := range map[string]struct {
		frames [][]byte
		answer string // is in the answer
	}{
		"bytes behind the end of a file": {[][]byte{opening(one), data(990, content[:11])}, "more than the 1000 bytes"},
		"an offset that overflows":       {[][]byte{opening(one), data(1<<64-5, content[:10])}, "more than the 1000 bytes"},
		"a file that there isn't":        {[][]byte{opening(one), frame('D', at(7, 0, 1, 2, 3))}, "protocol"},
		"the same bytes twice":           {[][]byte{opening(one), data(0, content[:10]), data(5, content[:10])}, "not asked for"},
		"bytes over what was hashed":     {[][]byte{opening(one), data(0, content), data(0, content)}, "not asked for"},
		"a hole over what was hashed":    {[][]byte{opening(one), data(0, content), frame('Z', at(0, 0, 0, 0, 0, 0, 0, 0, 0, 9))}, "not asked for"},
		"a hole larger than the file":    {[][]byte{opening(one), frame('Z', at(0, 1, 255, 255, 255, 255, 255, 255, 255, 255))}, "more than the 1000 bytes"},
		"an end too early":               {[][]byte{opening(one), data(0, content[:999]), end}, "999 bytes have arrived of the 1000"},
		"an end at once":                 {[][]byte{opening(one), end}, "0 bytes have arrived of the 1000"},
		"a copy although there is none":  {[][]byte{opening(one), frame('C', append(at(0, 0), at(0, 0, 0, 0, 0, 0, 0, 0, 0, 9)...))}, "protocol"},
		"a piece that is too large":      {[][]byte{opening(one), frame('D', make([]byte, 2<<20))}, "protocol"},
		"a frame without a place":        {[][]byte{opening(one), frame('D', []byte{1})}, "protocol"},
		"a frame nobody knows":           {[][]byte{opening(one), frame('?', nil)}, "protocol"},
		"a length that is absurd":        {[][]byte{opening(one), {'E', 0, 0, 0, 255, 255, 255, 255}}, "protocol"},
		"a second opening":               {[][]byte{opening(one), frame('O', nil)}, "protocol"},
		"an end that is no message":      {[][]byte{opening(one), frame('E', []byte{0xff})}, "protocol"},
		"a size that no disk has":        {[][]byte{opening(&agentpb.ModelHeader{Path: "/m", Size: 1 << 60})}, "too many"},
		"two files that are no folder":   {[][]byte{opening(&agentpb.ModelHeader{Path: "/m", Files: make2("a", "b")})}, "one file without a name"},
		"a folder of nothing":            {[][]byte{opening(&agentpb.ModelHeader{Path: "/m", Folder: true})}, "between 1 and"},
		"a way out of the folder":        {[][]byte{opening(folderOf("../x"))}, "no name for a file"},
		"a way out in the middle":        {[][]byte{opening(folderOf("a/../../x"))}, "no name for a file"},
		"an absolute name":               {[][]byte{opening(folderOf("/etc/passwd"))}, "no name for a file"},
		"an empty name":                  {[][]byte{opening(folderOf(""))}, "no name for a file"},
		"a name with an end of string":   {[][]byte{opening(folderOf("a\x00b"))}, "no name for a file"},
		"a name with an end of line":     {[][]byte{opening(folderOf("a\nb"))}, "no name for a file"},
		"a name that is too long":        {[][]byte{opening(folderOf(strings.Repeat("a", 256)))}, "no name for a file"},
		"the same name twice":            {[][]byte{opening(folderOf("a", "a"))}, "two files of the name"},
		"a file that is a folder":        {[][]byte{opening(folderOf("a", "a/b"))}, "both a file and a folder"},
		"an order that isn't":            {[][]byte{opening(folderOf("b", "a"))}, "sorted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			if said := h.converse(c.frames...); !strings.Contains(said, c.answer) || !strings.Contains(said, "\nX") && !strings.Contains(said, "X\x00\x00\x00") {
				t.Errorf("the answer is %q, want an error with %q", said, c.answer)
			}
			for _, name := range []string{"m.gguf", "m"} {
				if _, err := os.Lstat(h.path(name)); err == nil {
					t.Error("there is a model")
				}
			}
			if _, err := os.Lstat(filepath.Join(filepath.Dir(h.dir), "x")); err == nil {
				t.Error("it has written elsewhere")
			}
		})
	}
}

func make2(names ...string) []*agentpb.ModelFile {
	var files []*agentpb.ModelFile
	for _, n := range names {
		files = append(files, &agentpb.ModelFile{Name: n})
	}
	return files
}

func folderOf(names ...string) *agentpb.ModelHeader {
	return &agentpb.ModelHeader{Path: "/m", Folder: true, Files: make2(names...), Sha256: strings.Repeat("0", 64)}
}

// Whatever the other side sends first, nothing is remembered of it that fills the memory.
func TestNoPrefaceNoPush(t *testing.T) {
	for _, sent := range []string{"", "PRI * HTTP/2.0\r\n", "LLMHOST-LANE/2\n", transfer.Preface, transfer.Preface + "O\x00\x00\x00\xff\xff\xff\xff", transfer.Preface + "D\x00\x00\x00\x00\x00\x00\x0c"} {
		h := newHost(t)
		h.converse([]byte(sent))
		if left, _ := os.ReadDir(h.dir); len(left) != 0 {
			t.Errorf("%q has left %v", sent, left)
		}
	}
}

func TestSilentClientIsLeft(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	if _, err := transfer.Accept(context.Background(), theirs, 50*time.Millisecond); !errors.Is(err, transfer.ErrIdle) {
		t.Errorf("got %v", err)
	}
}

// Bytes at every other place would take memory for each: that is refused before it is much.
func TestScatteredBytes(t *testing.T) {
	h := newHost(t)
	size := uint64(2 << 20)
	var sent bytes.Buffer
	for offset := uint64(0); offset < size; offset += 2 {
		sent.Write(frame('D', at(0, offset, 1)))
	}
	said := h.converse(opening(&agentpb.ModelHeader{Path: "/m.gguf", Sha256: sum(nil), Size: size, Mode: 0o640}), sent.Bytes())
	if !strings.Contains(said, "too many places") {
		t.Errorf("the answer is %q", said)
	}
}

// answering is a host that says what a test wants.
type answering struct {
	*host
	say []byte
}

func (a answering) Lane(context.Context) (io.ReadWriteCloser, error) {
	ours, theirs := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	go func() {
		_, _ = theirs.Write(a.say)
		theirs.Close()
	}()
	return ours, nil
}

func TestHostileAgent(t *testing.T) {
	s := single(random(1, 1000))
	plan := func(need ...*agentpb.LaneRange) []byte { return frame('P', mustMarshal(&agentpb.LanePlan{Need: need})) }
	for name, say := range map[string][]byte{
		"nothing":                      nil,
		"no frame":                     []byte("HTTP/1.1 400 Bad Request\r\n"),
		"half a frame":                 {'P', 0, 0, 0, 0, 0, 0, 9, 1},
		"a length that is absurd":      {'P', 0, 0, 0, 255, 255, 255, 255},
		"a plan that is no message":    frame('P', []byte{0xff, 0xff}),
		"needs a file that isn't":      plan(&agentpb.LaneRange{File: 1, Length: 1}),
		"needs what is behind the end": plan(&agentpb.LaneRange{Offset: 999, Length: 2}),
		"needs what overflows":         plan(&agentpb.LaneRange{Offset: 10, Length: 1<<64 - 5}),
		"a plan twice":                 append(plan(), plan()...),
		"an error that is none":        frame('X', nil),
		"a frame of the client's":      frame('D', at(0, 0)),
		"chunks that nobody asked for": frame('I', make([]byte, 1<<20)),
	} {
		t.Run(name, func(t *testing.T) {
			if done, err := transfer.Push(t.Context(), answering{newHost(t), say}, header("m.gguf", s), s, transfer.Options{}); err == nil {
				t.Errorf("the push has succeeded: %+v", done)
			}
		})
	}
}

func FuzzReceiver(f *testing.F) {
	content := []byte(strings.Repeat("0123456789", 10))
	one := &agentpb.ModelHeader{Path: "/m.gguf", Sha256: sum(content), Size: 100, Mode: 0o640}
	f.Add(append(append(opening(one), frame('D', at(0, 0, content...))...), frame('E', nil)...))
	f.Add(append(append(opening(one), frame('Z', at(0, 0, 0, 0, 0, 0, 0, 0, 0, 50))...), frame('D', at(0, 50, content[:50]...))...))
	f.Add(opening(folderOf("a/b", "a/c")))
	f.Add(append(opening(one), frame('C', append(at(0, 0), at(0, 0, 0, 0, 0, 0, 0, 0, 0, 9)...))...))
	f.Fuzz(func(t *testing.T, sent []byte) {
		h := newHost(t)
		ours, theirs := net.Pipe()
		go func() {
			_, _ = ours.Write(sent)
			ours.Close()
		}()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		h.serve(theirs)
		if got, err := os.ReadFile(h.path("m.gguf")); err == nil && !bytes.Contains(sent, []byte(sum(got))) {
			t.Fatalf("a model has its name that nobody has pinned: %q", got)
		}
		if left, _ := os.ReadDir(filepath.Dir(h.dir)); len(left) != 1 {
			t.Fatalf("written elsewhere: %v", left)
		}
	})
}

func FuzzSender(f *testing.F) {
	plan := frame('P', mustMarshal(&agentpb.LanePlan{Need: []*agentpb.LaneRange{{Length: 1000}}}))
	done := frame('F', mustMarshal(&agentpb.LaneDone{Sha256: "x"}))
	f.Add(append(bytes.Clone(plan), done...))
	f.Add(append(bytes.Clone(plan), frame('N', mustMarshal(&agentpb.LaneNeed{Need: []*agentpb.LaneRange{{Offset: 5, Length: 5}}}))...))
	f.Add(frame('X', []byte{8, 3}))
	s := single(random(1, 1000))
	f.Fuzz(func(t *testing.T, say []byte) {
		_, err := transfer.Push(t.Context(), answering{newHost(t), say}, header("m.gguf", s), s, transfer.Options{})
		if err == nil && !bytes.Contains(say, []byte{'F', 0, 0, 0}) {
			t.Fatal("a push has succeeded without the agent's word")
		}
	})
}
