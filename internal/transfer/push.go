package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/transfer/chunk"
)

// Lanes opens lanes to one host.
type Lanes interface {
	// Lane starts an agent on a channel of its own and returns its pipe, behind its first line.
	// It may implement Opening and Translating.
	Lane(ctx context.Context) (io.ReadWriteCloser, error)
	// ExtraLane is the same for one more lane of a push, on a connection of its own where that
	// helps.
	ExtraLane(ctx context.Context) (io.ReadWriteCloser, error)
	// RTT is how long a message to the host and its answer take.
	RTT() time.Duration
}

// Opening is a lane's pipe that knows the state folder of the agent, and who pushes.
type Opening interface {
	Opening() (stateDir, holder string)
}

// Translating is a lane's pipe that puts the agent's errors, and those of a dead connection, into
// the connection's own words.
type Translating interface {
	Translate(error) error
}

// Options are a push's settings. The zero value is good.
type Options struct {
	Progress func(Progress) // called about four times a second, from one goroutine
	MaxLanes int            // 0: as many as help
	Whole    bool           // send all that is missing, even if the host has an older version
	Holder   string         // for people: who pushes, to tell another push of the same model; empty: whom the lane knows
}

// Result is what a push has done.
type Result struct {
	Generation uint64
	Changed    bool
	SHA256     string // of the file, or of the folder's manifest
	Files      []File // with their digests
	Sent       uint64 // bytes that went over the wire
	Found      uint64 // bytes that the host had: from an earlier attempt, or in another model
}

const (
	// batches are how many batches of frames are read ahead for the first lane, and more for each
	// further one. A batch is one piece, or several small ones.
	batches, moreBatches = 3, 2

	// An SSH channel's window is 2 MiB, so that one lane carries that much in a round trip: all
	// that a near host's processor can take, and 36 MB/s at 50 ms. A connection that loses 1 % of
	// its packets carries 0.3 MB/s there, so that twice as many take half the time. From nearLimit
	// on there are farLanes lanes. They take pieces of farPiece bytes, so that none is waited for
	// at the end.
	nearLimit = 2 * time.Millisecond
	farLanes  = 8
	farPiece  = 256 << 10
	// furtherFrom is how many bytes must be missing for further lanes to pay.
	furtherFrom = 4 << 20
	// beatEvery keeps the agent alive while nothing is sent. It ends itself after a minute.
	beatEvery = 10 * time.Second
	// silence is how long the agent may say nothing. It says something four times a second.
	silence = time.Minute
	// lastWords is how long is waited for an agent that has stopped reading to say why.
	lastWords = 3 * time.Second
)

// Push brings a model to a host. The header says where to, and what is pinned of it; files and
// sizes are the source's.
//
// A push that is interrupted leaves what has arrived on the host, and the next one of the same
// bytes goes on from there: of the same digest, or of the same source if none is pinned. Push
// itself tries once: a connection that was cut is for its owner to make anew. Errors of the agent
// are those of the lanes' Translate; ErrChanged is in the error when the source has changed.
//
// Of a model that the host has an older version of, or one of about the same size, it sends what
// differs. If what was copied turns out to be wrong, because the older one was changed meanwhile,
// it sends the whole once.
func Push(ctx context.Context, l Lanes, header *agentpb.ModelHeader, src Source, o Options) (Result, error) {
	if d, ok := src.(Distant); ok && d.Distant() {
		o.Whole = true
	}
	result, again, err := pushOnce(ctx, l, header, src, o)
	if again {
		o.Whole = true
		result, _, err = pushOnce(ctx, l, header, src, o)
	}
	return result, err
}

// pushOnce is a push that may have copied what it shouldn't have, and is then to be done again.
func pushOnce(ctx context.Context, l Lanes, header *agentpb.ModelHeader, src Source, o Options) (_ Result, again bool, _ error) {
	caller := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	first, err := l.Lane(caller)
	if err != nil {
		return Result{}, false, err
	}
	p := &push{
		src: src, files: src.Files(), options: o, caller: caller, ctx: ctx, cancel: cancel,
		events: make(chan event, 16), piece: pieceSize, to: l, joined: make(chan *lane, farLanes),
	}
	p.pinned = header.GetSha256() != ""
	open := &agentpb.LaneOpen{Header: p.header(header)}
	if known, ok := first.(Opening); ok {
		open.StateDir, open.Holder = known.Opening()
	}
	if o.Holder != "" {
		open.Holder = o.Holder
	}
	open.Sparse = sparse(src)
	out := newLane(first)
	p.lanes = []*lane{out}
	defer out.close()
	// Whatever blocks on the lane ends with it.
	defer context.AfterFunc(ctx, out.close)()
	result, err := p.run(out, open)
	if err != nil {
		return Result{}, p.copied.Load() > 0 && mismatched(err), p.explain(out, err)
	}
	return result, false, nil
}

// mismatched reports whether the agent has said that the bytes are not the promised ones.
func mismatched(err error) bool {
	var said interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &said) {
		return false
	}
	for _, detail := range said.GRPCStatus().Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == agentpb.ErrorDomain {
			return info.GetReason() == agentpb.Reason_DIGEST_MISMATCH.String()
		}
	}
	return false
}

// sparse reports whether a source has holes.
func sparse(src Source) bool {
	holes, ok := src.(Holes)
	if !ok {
		return false
	}
	for i, f := range src.Files() {
		if start, end, ok := holes.Data(i, 0); f.Size > 0 && (!ok || start > 0 || end < f.Size) {
			return true
		}
	}
	return false
}

// push is one push's state.
type push struct {
	src     Source
	files   []File
	pinned  bool
	options Options
	caller  context.Context
	ctx     context.Context
	cancel  context.CancelCauseFunc
	events  chan event

	to     Lanes
	lanes  []*lane    // that are used, the first one first
	joined chan *lane // further ones that can be
	piece  uint64     // the most bytes in a frame

	reading sync.WaitGroup // what uses the source

	sums   []hash.Hash    // of the files, when nothing is pinned
	copies [][]chunk.Span // of each file, what the host has in its base
	sent   atomic.Uint64
	copied atomic.Uint64
}

// event is what the agent says.
type event struct {
	kind     kind
	plan     *agentpb.LanePlan
	need     *agentpb.LaneNeed
	progress *agentpb.LaneProgress
	done     *agentpb.LaneDone
	entries  []byte // chunks of the base
	err      error
}

func (p *push) header(from *agentpb.ModelHeader) *agentpb.ModelHeader {
	h := &agentpb.ModelHeader{
		Claim: from.GetClaim(), Path: from.GetPath(), Sha256: from.GetSha256(), Folder: from.GetFolder(),
		Mode: from.GetMode(), Owner: from.GetOwner(), Group: from.GetGroup(), SessionId: from.GetSessionId(),
		SourceId: p.src.ID(),
	}
	for _, f := range p.files {
		h.Size += f.Size
		h.Files = append(h.Files, &agentpb.ModelFile{Name: f.Name, Size: f.Size, Sha256: f.SHA256})
	}
	return h
}

// explain says what a push has failed of: the caller's cancellation, the agent's words, or what
// went wrong here.
func (p *push) explain(l *lane, err error) error {
	if p.caller.Err() != nil {
		err = context.Cause(p.caller)
	}
	if l.translate != nil {
		return l.translate(err)
	}
	return err
}

// run speaks with the agent.
func (p *push) run(out *lane, open *agentpb.LaneOpen) (Result, error) {
	if _, err := out.write([]byte(Preface)); err != nil {
		return Result{}, err
	}
	if err := out.message(kindOpen, open); err != nil {
		return Result{}, err
	}
	go p.listen(out)
	go p.beat(out)

	e, err := p.next(kindPlan)
	if err != nil {
		return Result{}, err
	}
	found, total := e.plan.GetFound(), open.GetHeader().GetSize()
	if base := e.plan.GetBase(); len(base) > 0 && !p.options.Whole {
		if err := p.compare(out, base, found, total); err != nil {
			return Result{}, p.reason(err)
		}
	}
	p.further(open.GetStateDir(), e.plan)
	sent := make(chan error, 1) // takes the end of each sending
	send := func(need []*agentpb.LaneRange, answered uint32) {
		p.reading.Add(1)
		go func() {
			err := p.send(need)
			for i, l := range p.lanes {
				if err != nil {
					break
				}
				end := &agentpb.LaneEnd{Answered: answered, Lanes: uint32(len(p.lanes))}
				if i == 0 {
					end.Sha256 = p.digests()
				}
				err = l.message(kindEnd, end)
			}
			sent <- err
		}()
	}
	send(e.plan.GetNeed(), 0)
	sending := true
	defer func() {
		p.cancel(errEnded)
		p.reading.Wait() // the source is the caller's again; a write may take its time to end
	}()
	var again []*agentpb.LaneRange // what is to be sent after that
	var asked, answered uint32
	for {
		select {
		case err := <-sent:
			sending = false
			if err != nil {
				return Result{}, p.reason(err)
			}
		case e, ok := <-p.events:
			switch {
			case !ok:
				return Result{}, context.Cause(p.ctx)
			case e.err != nil:
				return Result{}, e.err
			case e.kind == kindProgress:
				p.report(e.progress, found, total)
			case e.kind == kindNeed:
				asked++
				again = append(again, e.need.GetNeed()...)
			case e.kind == kindDone:
				return p.result(e.done, found), nil
			}
		}
		if !sending && asked > answered {
			answered, sending = asked, true
			send(again, answered)
			again = nil
		}
	}
}

// errEnded ends what still runs when a push has its result.
var errEnded = errors.New("the push has ended")

// reason is why sending has failed: an agent that stops reading says why.
func (p *push) reason(err error) error {
	var ours *sourceError
	if errors.As(err, &ours) || p.ctx.Err() != nil {
		return err
	}
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	for {
		select {
		case e, ok := <-p.events:
			if !ok || e.err != nil && errors.Is(e.err, ErrCut) {
				return err
			}
			if e.err != nil {
				return e.err
			}
		case <-timer.C:
			return err
		}
	}
}

func (p *push) result(done *agentpb.LaneDone, found uint64) Result {
	r := Result{
		Generation: done.GetChange().GetGeneration(), Changed: done.GetChange().GetChanged(),
		SHA256: done.GetSha256(), Sent: p.sent.Load(), Found: found + p.copied.Load(),
	}
	for i, f := range p.files {
		if i < len(done.GetFiles()) {
			f.SHA256 = done.GetFiles()[i]
		}
		r.Files = append(r.Files, f)
	}
	return r
}

func (p *push) report(at *agentpb.LaneProgress, found, total uint64) {
	if p.options.Progress == nil {
		return
	}
	phase, done := "send", at.GetArrived()
	if done >= total {
		phase, done = "verify", at.GetHashed()
	}
	p.options.Progress(Progress{Phase: phase, Done: done, Total: total, Sent: p.sent.Load(), Found: found + p.copied.Load()})
}

// next waits for the agent's next word, which must be of a kind.
func (p *push) next(k kind) (event, error) {
	for {
		select {
		case e, ok := <-p.events:
			switch {
			case !ok:
				return event{}, context.Cause(p.ctx)
			case e.err != nil:
				return event{}, e.err
			case e.kind == k:
				return e, nil
			case e.kind != kindProgress:
				return event{}, broken("a frame %q", e.kind)
			}
		case <-p.ctx.Done():
			return event{}, context.Cause(p.ctx)
		}
	}
}

// listen turns the agent's frames into events. The last one is an error, unless the push ends
// before.
func (p *push) listen(l *lane) {
	defer close(p.events)
	silent := time.AfterFunc(silence, func() {
		p.cancel(fmt.Errorf("the agent gave no sign of life for %s", silence))
	})
	defer silent.Stop()
	for {
		e, err := readEvent(l.rwc)
		if err != nil {
			e = event{err: err}
		}
		silent.Reset(silence)
		select {
		case p.events <- e:
		case <-p.ctx.Done():
			return
		}
		if err != nil || e.err != nil || e.kind == kindDone {
			return
		}
	}
}

func readEvent(r io.Reader) (event, error) {
	k, length, err := readHead(r)
	if errors.Is(err, errProtocol) {
		return event{}, err
	}
	if err != nil {
		return event{}, fmt.Errorf("%w: %w", ErrCut, err)
	}
	e := event{kind: k}
	switch k {
	case kindPlan:
		e.plan = &agentpb.LanePlan{}
		err = readMessage(r, length, e.plan)
	case kindNeed:
		e.need = &agentpb.LaneNeed{}
		err = readMessage(r, length, e.need)
	case kindProgress:
		e.progress = &agentpb.LaneProgress{}
		err = readMessage(r, length, e.progress)
	case kindSketch, kindIndex:
		if length > maxEntries {
			return event{}, broken("%d bytes of chunks at once", length)
		}
		e.entries = make([]byte, length)
		if _, err = io.ReadFull(r, e.entries); err != nil {
			err = unexpected(err)
		}
	case kindDone:
		e.done = &agentpb.LaneDone{}
		err = readMessage(r, length, e.done)
	case kindError:
		var s spb.Status
		if err = readMessage(r, length, &s); err == nil {
			e.err = status.FromProto(&s).Err()
			if e.err == nil {
				err = broken("an error that is none")
			}
		}
	default:
		err = broken("a frame %q", k)
	}
	return e, err
}

// beat keeps the agent alive.
func (p *push) beat(l *lane) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-ticker.C:
			if l.writing.TryLock() { // else something is being sent
				b, _ := message(kindBeat, nil)
				_, _ = l.rwc.Write(b) // whoever sends next sees the same error
				l.writing.Unlock()
			}
		}
	}
}

func (p *push) digests() []string {
	var out []string
	for _, s := range p.sums {
		out = append(out, hex.EncodeToString(s.Sum(nil)))
	}
	return out
}

// sourceError is an error on this side.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// further opens more lanes, where one can't carry what the way to the host can.
func (p *push) further(stateDir string, plan *agentpb.LanePlan) {
	var missing uint64
	for _, n := range plan.GetNeed() {
		missing += n.GetLength()
	}
	lanes := farLanes
	if p.options.MaxLanes > 0 {
		lanes = min(lanes, p.options.MaxLanes)
	}
	if lanes == 1 || plan.GetJoin() == "" || missing < furtherFrom || p.to.RTT() < nearLimit {
		return
	}
	p.piece = farPiece
	for range lanes - 1 {
		go p.join(&agentpb.LaneOpen{StateDir: stateDir, Join: plan.GetJoin()})
	}
}

// join opens one more lane. One that can't be opened isn't needed; one that ends too early has
// taken bytes with it, and ends the push.
func (p *push) join(open *agentpb.LaneOpen) {
	rwc, err := p.to.ExtraLane(p.ctx)
	if err != nil {
		return
	}
	l := newLane(rwc)
	context.AfterFunc(p.ctx, l.close)
	if _, err := l.write([]byte(Preface)); err != nil {
		return
	}
	if err := l.message(kindOpen, open); err != nil {
		return
	}
	if e, err := readEvent(rwc); err != nil || e.kind != kindProgress {
		l.close()
		return
	}
	p.joined <- l
	go p.beat(l)
	for {
		e, err := readEvent(rwc)
		if err == nil {
			err = e.err
		}
		if err != nil {
			p.cancel(err) // which does nothing when the push has ended
			return
		}
	}
}

// send reads what is needed, in order, and writes it to the lanes.
func (p *push) send(need []*agentpb.LaneRange) error {
	const most = batches + moreBatches*(farLanes-1)
	full := make(chan []byte, batches)
	free := make(chan []byte, most)
	addBatches := func(n int) {
		for range n {
			free <- make([]byte, 0, headSize+placeSize+p.piece)
		}
	}
	addBatches(batches)
	ctx, cancel := context.WithCancelCause(p.ctx)
	defer cancel(nil)
	var readErr error
	read := make(chan struct{})
	go func() {
		defer p.reading.Done()
		defer close(read)
		defer close(full)
		b := &batcher{ctx: ctx, full: full, free: free}
		if readErr = p.read(ctx, b, need); readErr == nil {
			readErr = b.flush()
		}
	}()
	var writing sync.WaitGroup
	failed := make(chan error, farLanes)
	use := func(l *lane) {
		writing.Go(func() {
			for b := range full {
				if _, err := l.write(b); err != nil {
					failed <- err
					cancel(err)
					return
				}
				free <- b[:0]
			}
		})
	}
	for i, l := range p.lanes {
		if i > 0 {
			addBatches(moreBatches)
		}
		use(l)
	}
	for sending := true; sending; {
		select {
		case l := <-p.joined:
			p.lanes = append(p.lanes, l)
			addBatches(moreBatches)
			use(l)
		case <-read:
			sending = false
		}
	}
	writing.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return readErr
	}
}

// batcher collects frames until they are worth a write.
type batcher struct {
	ctx        context.Context
	full, free chan []byte
	now        []byte
}

// room returns space for a frame of at most so many bytes behind its head, and sends what is
// there if it doesn't fit.
func (b *batcher) room(length int) error {
	if b.now != nil && len(b.now)+headSize+length > cap(b.now) {
		if err := b.flush(); err != nil {
			return err
		}
	}
	if b.now == nil {
		select {
		case b.now = <-b.free:
		case <-b.ctx.Done():
			return context.Cause(b.ctx)
		}
	}
	return nil
}

func (b *batcher) flush() error {
	if len(b.now) == 0 {
		return nil
	}
	select {
	case b.full <- b.now:
		b.now = nil
		return nil
	case <-b.ctx.Done():
		return context.Cause(b.ctx)
	}
}

// data adds a piece that read fills.
func (b *batcher) data(at place, size int, read func([]byte) error) error {
	if err := b.room(placeSize + size); err != nil {
		return err
	}
	from := len(b.now)
	frame := b.now[from : from+headSize+placeSize+size]
	putHead(frame, kindData, placeSize+size)
	putPlace(frame[headSize:], at)
	if err := read(frame[headSize+placeSize:]); err != nil {
		return err
	}
	b.now = b.now[:from+len(frame)]
	return nil
}

// zero adds a hole.
func (b *batcher) zero(at place, size uint64) error {
	if err := b.room(placeSize + 8); err != nil {
		return err
	}
	from := len(b.now)
	frame := b.now[from : from+headSize+placeSize+8]
	putHead(frame, kindZero, placeSize+8)
	putPlace(frame[headSize:], at)
	binary.BigEndian.PutUint64(frame[headSize+placeSize:], size)
	b.now = b.now[:from+len(frame)]
	return nil
}

// copy adds a copy of what the host has.
func (b *batcher) copy(to, from place, size uint64) error {
	if err := b.room(copySize); err != nil {
		return err
	}
	at := len(b.now)
	frame := b.now[at : at+headSize+copySize]
	putHead(frame, kindCopy, copySize)
	putPlace(frame[headSize:], to)
	putPlace(frame[headSize+placeSize:], from)
	binary.BigEndian.PutUint64(frame[headSize+2*placeSize:], size)
	b.now = b.now[:at+len(frame)]
	return nil
}

// read reads what is needed. When nothing is pinned it reads everything, once, since the digest
// that the host's is compared with has to come from here.
func (p *push) read(ctx context.Context, b *batcher, need []*agentpb.LaneRange) error {
	wanted := make([]spans, len(p.files))
	for _, n := range need {
		if int(n.GetFile()) >= len(p.files) || n.GetOffset() > p.files[n.GetFile()].Size || n.GetLength() > p.files[n.GetFile()].Size-n.GetOffset() {
			return broken("it needs bytes that are not there")
		}
		wanted[n.GetFile()].add(span{n.GetOffset(), n.GetOffset() + n.GetLength()})
	}
	hashing := !p.pinned && p.sums == nil
	for i, f := range p.files {
		r := &fileReader{ctx: ctx, push: p, file: i, batch: b}
		if hashing {
			r.sum = sha256.New()
			p.sums = append(p.sums, r.sum)
		}
		at := uint64(0)
		for _, s := range wanted[i] {
			if err := r.skip(span{at, s.start}); err != nil {
				return err
			}
			if err := r.send(s); err != nil {
				return err
			}
			at = s.end
		}
		if err := r.skip(span{at, f.Size}); err != nil {
			return err
		}
		if err := r.close(); err != nil {
			return err
		}
	}
	return nil
}

// fileReader reads one file of the source in order.
type fileReader struct {
	ctx   context.Context
	push  *push
	file  int
	batch *batcher
	sum   hash.Hash // nil when nobody asks

	in io.ReadCloser
	at uint64
}

// fill reads the bytes at a position.
func (r *fileReader) fill(at uint64, b []byte) error {
	if r.in == nil || r.at != at {
		if err := r.close(); err != nil {
			return err
		}
		in, err := r.push.src.Open(r.ctx, r.file, at)
		if err != nil {
			return &sourceError{err}
		}
		r.in, r.at = in, at
	}
	n, err := io.ReadFull(r.in, b)
	r.at += uint64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		f := r.push.files[r.file]
		err = fmt.Errorf("%w: %s ends after %d bytes, and had %d", ErrChanged, firstOf(f.Name, "it"), r.at, f.Size)
	}
	if err != nil {
		return &sourceError{err}
	}
	if r.sum != nil {
		r.sum.Write(b)
	}
	return nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// close ends the reading. A source may notice only then that it has changed.
func (r *fileReader) close() error {
	if r.in == nil {
		return nil
	}
	err := r.in.Close()
	r.in = nil
	if err != nil {
		return &sourceError{err}
	}
	return nil
}

// send sends a part of the file, its holes as such.
func (r *fileReader) send(s span) error {
	holes, sparse := r.push.src.(Holes)
	for at := s.start; at < s.end; {
		end := s.end
		if sparse {
			start, stop, ok := holes.Data(r.file, at)
			if !ok || start > s.end {
				start = s.end
			}
			if start > at {
				if err := r.hole(at, start-at); err != nil {
					return err
				}
				at = start
				continue
			}
			end = min(end, max(stop, at+1))
		}
		for at < end {
			from, until := r.push.inBase(place{r.file, at})
			until = min(until, end)
			if from != nil {
				if err := r.batch.copy(place{r.file, at}, *from, until-at); err != nil {
					return err
				}
				r.push.copied.Add(until - at)
				at = until
				continue
			}
			n := min(until-at, r.push.piece)
			err := r.batch.data(place{r.file, at}, int(n), func(b []byte) error { return r.fill(at, b) })
			if err != nil {
				return err
			}
			r.push.sent.Add(n)
			at += n
		}
	}
	return nil
}

func (r *fileReader) hole(at, size uint64) error {
	if r.sum != nil {
		if _, err := io.CopyN(r.sum, zeros{}, int64(size)); err != nil {
			return err
		}
	}
	return r.batch.zero(place{r.file, at}, size)
}

// skip passes a part that the host has. It is read only for the digest.
func (r *fileReader) skip(s span) error {
	if r.sum == nil {
		return nil
	}
	buf := make([]byte, min(s.end-s.start, pieceSize))
	for at := s.start; at < s.end; {
		if err := r.ctx.Err(); err != nil {
			return context.Cause(r.ctx)
		}
		n := min(s.end-at, pieceSize)
		if err := r.fill(at, buf[:n]); err != nil {
			return err
		}
		at += n
	}
	return nil
}
