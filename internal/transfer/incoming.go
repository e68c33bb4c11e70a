package transfer

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

var (
	// ErrCut is the end of a lane before the push's.
	ErrCut = errors.New("the connection ended in the middle of a push")
	// ErrIdle is the end of a lane on which nothing was received for too long.
	ErrIdle = errors.New("nothing was received for too long")
)

// progressEvery is how often the agent says how far it is. It is also its sign of life.
const progressEvery = 250 * time.Millisecond

// Incoming is a push that a client has opened: the agent's end of its first lane.
type Incoming struct {
	Open *agentpb.LaneOpen

	rwc    io.ReadWriteCloser
	ctx    context.Context
	cancel context.CancelCauseFunc

	writing sync.Mutex
	sink    atomic.Pointer[receiver] // takes what comes once the plan was sent
	waiting atomic.Int64             // since when a read has been waiting, in Unix nanoseconds; 0: none
}

// Accept reads what a client opens a lane with. A lane on which nothing comes
// for the time of idle ends. The caller ends the lane with Close.
func Accept(ctx context.Context, rwc io.ReadWriteCloser, idle time.Duration) (*Incoming, error) {
	in := &Incoming{rwc: rwc, Open: &agentpb.LaneOpen{}}
	in.ctx, in.cancel = context.WithCancelCause(ctx)
	go in.watch(idle)
	opened := make(chan error, 1)
	go func() {
		var k kind
		var length int
		err := readPreface(inReader{in})
		if err == nil {
			k, length, err = readHead(inReader{in})
		}
		if err == nil && k != kindOpen {
			err = broken("a lane begins with %q", k)
		}
		if err == nil {
			err = readMessage(inReader{in}, length, in.Open)
		}
		opened <- err
		if err == nil && in.Open.GetJoin() == "" {
			in.cancel(in.listen())
		}
	}()
	select {
	case err := <-opened:
		if err != nil {
			in.Close()
			return nil, err
		}
		if in.Open.GetJoin() == "" {
			go in.report()
		}
		return in, nil
	case <-in.ctx.Done(): // a read can't be interrupted, and is left to the end of the process
		err := context.Cause(in.ctx)
		in.Close()
		return nil, err
	}
}

func readPreface(r io.Reader) error {
	b := make([]byte, len(Preface))
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if string(b) != Preface {
		return broken("a lane begins with %q", b)
	}
	return nil
}

// Context is done when the lane has ended, or when Close was called.
func (in *Incoming) Context() context.Context { return in.ctx }

// Close ends the lane.
func (in *Incoming) Close() {
	in.cancel(ErrCut)
	in.rwc.Close()
}

// Done tells the client that its model is in place, and ends the push.
func (in *Incoming) Done(change *agentpb.ChangeResponse, r *Received) error {
	done := &agentpb.LaneDone{Change: change, Sha256: r.SHA256}
	for _, f := range r.Files {
		done.Files = append(done.Files, f.SHA256)
	}
	return in.send(kindDone, done)
}

// Fail tells the client why its push has failed. Of a cut it isn't told: it knows, or sees it when
// the lanes that are left end.
func (in *Incoming) Fail(err error) error {
	if errors.Is(err, ErrCut) {
		return nil
	}
	return in.send(kindError, status.Convert(err).Proto())
}

func (in *Incoming) send(k kind, m proto.Message) error {
	b, err := message(k, m)
	if err != nil {
		return err
	}
	in.writing.Lock()
	defer in.writing.Unlock()
	_, err = in.rwc.Write(b)
	return err
}

// sendBytes sends a frame that is no message.
func (in *Incoming) sendBytes(k kind, p []byte) error {
	b := make([]byte, headSize, headSize+len(p))
	putHead(b, k, len(p))
	in.writing.Lock()
	defer in.writing.Unlock()
	_, err := in.rwc.Write(append(b, p...))
	return err
}

// inReader reads from the lane, and notes since when it waits.
type inReader struct{ *Incoming }

func (r inReader) Read(b []byte) (int, error) {
	r.waiting.Store(time.Now().UnixNano())
	n, err := r.rwc.Read(b)
	r.waiting.Store(0)
	return n, err
}

// watch ends a lane on which nothing comes. A receiver that doesn't read, because its disk is
// slow, isn't one to which nothing is sent.
func (in *Incoming) watch(idle time.Duration) {
	ticker := time.NewTicker(max(idle/8, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-in.ctx.Done():
			return
		case now := <-ticker.C:
			if since := in.waiting.Load(); since != 0 && now.UnixNano()-since > int64(idle) {
				in.cancel(ErrIdle)
				return
			}
		}
	}
}

// report sends the progress.
func (in *Incoming) report() {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-in.ctx.Done():
			return
		case <-ticker.C:
			p := &agentpb.LaneProgress{}
			if r := in.sink.Load(); r != nil {
				p.Arrived, p.Hashed = r.arrived.Load(), r.hashed.Load()
			}
			if err := in.send(kindProgress, p); err != nil {
				in.cancel(ErrCut)
				return
			}
		}
	}
}

// listen takes the client's frames until the lane ends, and says why it did.
func (in *Incoming) listen() error {
	return frames(inReader{in}, func(k kind) (*receiver, error) {
		if to := in.sink.Load(); to != nil {
			return to, nil
		}
		return nil, broken("a frame %q before the plan", k)
	})
}

// frames takes frames until there are no more, and says why.
func frames(from io.Reader, sink func(kind) (*receiver, error)) error {
	for {
		k, length, err := readHead(from)
		if errors.Is(err, errProtocol) {
			return err
		}
		if err != nil {
			return ErrCut
		}
		if k == kindBeat && length == 0 {
			continue
		}
		to, err := sink(k)
		if err == nil {
			err = to.frame(from, k, length)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = ErrCut
		}
		if err != nil {
			return err
		}
	}
}

func (r *receiver) frame(from io.Reader, k kind, length int) error {
	switch k {
	case kindData:
		return r.data(from, length)
	case kindZero:
		return r.zero(from, length)
	case kindCopy:
		return r.copy(from, length)
	case kindCompare:
		return r.compare(from, length)
	case kindEnd:
		return r.end(from, length)
	default:
		return broken("a frame %q", k)
	}
}

func readPlace(r io.Reader, b []byte) (place, error) {
	if _, err := io.ReadFull(r, b); err != nil {
		return place{}, unexpected(err)
	}
	return getPlace(b), nil
}

// data takes the bytes of a piece.
func (r *receiver) data(from io.Reader, length int) error {
	if length < placeSize || length > placeSize+pieceSize {
		return broken("a piece of %d bytes", length)
	}
	var b [placeSize]byte
	at, err := readPlace(from, b[:])
	if err != nil {
		return err
	}
	length -= placeSize
	if err := r.claim(at, uint64(length)); err != nil {
		return err
	}
	buf, err := r.buffer()
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(from, buf[:length]); err != nil {
		return unexpected(err)
	}
	return r.pass(piece{at, buf[:length]})
}

// buffer waits for a buffer for a piece.
func (r *receiver) buffer() (buf []byte, err error) {
	select {
	case buf = <-r.pool:
	case <-r.ctx.Done():
		return nil, context.Cause(r.ctx)
	}
	if buf == nil {
		buf = make([]byte, pieceSize)
	}
	return buf, nil
}

// pass has a piece written.
func (r *receiver) pass(p piece) error {
	select {
	case r.writes <- p:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// zero takes a hole.
func (r *receiver) zero(from io.Reader, length int) error {
	if length != placeSize+8 {
		return broken("a hole of %d bytes", length)
	}
	var b [placeSize + 8]byte
	at, err := readPlace(from, b[:])
	if err != nil {
		return err
	}
	size := binary.BigEndian.Uint64(b[placeSize:])
	if err := r.claim(at, size); err != nil {
		return err
	}
	return r.punch(at, size)
}

// end takes note that all was sent that was asked for.
func (r *receiver) end(from io.Reader, length int) error {
	var m agentpb.LaneEnd
	if err := readMessage(from, length, &m); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if int(m.GetAnswered()) != r.asked {
		return nil // another one will come, after what was asked for since
	}
	if len(m.GetSha256()) > 0 {
		r.promised = m.GetSha256()
	}
	if r.ends++; r.ends >= int(m.GetLanes()) { // the other lanes have all of theirs behind them, too
		r.ended = true
		r.cond.Broadcast()
	}
	return nil
}

// claim makes sure that bytes are among those that are missing, and that nothing else brings
// them: what was hashed is never written again.
func (r *receiver) claim(at place, size uint64) error {
	if at.file >= len(r.part.files) {
		return broken("bytes of the file %d, and there are %d", at.file, len(r.part.files))
	}
	f := r.part.files[at.file]
	if at.offset > f.Size || size > f.Size-at.offset {
		return fault.New(agentpb.Reason_DIGEST_MISMATCH, "more than the %d bytes that were promised have arrived", f.Size)
	}
	if size == 0 {
		return nil
	}
	p := span{at.offset, at.offset + size}
	r.mu.Lock()
	defer r.mu.Unlock()
	claimed := &r.claimed[at.file]
	if claimed.overlaps(p) {
		return fault.New(agentpb.Reason_INVALID, "bytes have arrived that were not asked for")
	}
	before := len(*claimed)
	claimed.add(p)
	if r.fragments += len(*claimed) - before; r.fragments > maxFragments {
		return fault.New(agentpb.Reason_INVALID, "the bytes arrive in too many places at once")
	}
	return nil
}
