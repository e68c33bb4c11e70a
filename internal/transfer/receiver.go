package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/modelfile"
)

const (
	// poolSize is how many pieces are on their way from the wire to the disk and the hash.
	poolSize = 16
	// maxQueued is how many of them may wait for the hash.
	maxQueued = 8
	// flushEvery is how many bytes may be in the page cache alone: what a power cut can cost.
	flushEvery = 32 << 20
	// maxFragments bounds the places at which bytes arrive, for a client that sends every other
	// byte: 16 bytes of memory for each.
	maxFragments = 1 << 18
)

// piece is a part of a file on its way.
type piece struct {
	place
	data []byte
}

// receiver writes what arrives, and hashes it in order meanwhile.
type receiver struct {
	in   *Incoming
	part *part
	ctx  context.Context
	stop context.CancelCauseFunc

	pool   chan []byte // nil for a buffer that was not needed so far
	writes chan piece
	flush  chan int // files with bytes that only the page cache has

	base     *base // nil: none was offered
	copies   chan copying
	indexing func() // ends the sending of the base's index; nil: it was not asked for

	arrived, hashed atomic.Uint64

	mu        sync.Mutex
	cond      *sync.Cond
	claimed   []spans // what is there or on its way, by file
	fragments int
	next      place   // where the hash goes on after what it is at
	queue     []piece // from there on, in order
	asked     int     // how often bytes were asked for again
	ends      int     // how many lanes have sent all that was asked for
	ended     bool    // all of them have
	promised  []string
}

// Received is a model that has arrived whole and is the promised one.
type Received struct {
	SHA256 string // of the file, or of the folder's manifest
	Files  []File // with their digests

	part *part
}

// Receive brings a model into the hidden folder beside its name. On success the caller has it
// published, and in any case it calls Discard or Keep.
//
// Bytes that are not the promised ones are removed; what a cut or a full disk has left stays for
// the next push.
func (in *Incoming) Receive(parent *durable.Dir, name string) (*Received, error) {
	h := in.Open.GetHeader()
	files, err := validFiles(h)
	if err != nil {
		return nil, err
	}
	holder := in.Open.GetHolder()
	if holder == "" {
		holder = "another push"
	}
	p, err := openPart(in.ctx, parent, name, holder, h, files)
	if err != nil {
		return nil, err
	}
	r := newReceiver(in, p)
	sums, err := r.run()
	if err == nil {
		var received *Received
		if received, err = r.judge(h, sums); err == nil {
			return received, nil
		}
	}
	var fail *fault.Error
	if r.arrived.Load() == 0 || errors.As(err, &fail) && fail.Reason == agentpb.Reason_DIGEST_MISMATCH {
		p.remove()
	}
	p.close()
	return nil, err
}

// Publish gives the model its attributes and its name, and removes the hidden folder.
func (r *Received) Publish(name string, a durable.Attributes) error {
	defer r.part.close()
	if err := r.part.publish(name, a); err != nil {
		return err
	}
	return r.part.remove()
}

// Keep ends what was received without a name; the next push of it finds it there.
func (r *Received) Keep() { r.part.close() }

func newReceiver(in *Incoming, p *part) *receiver {
	r := &receiver{
		in: in, part: p,
		pool: make(chan []byte, poolSize), writes: make(chan piece, poolSize), flush: make(chan int, 1),
		copies:  make(chan copying, copyQueue),
		claimed: make([]spans, len(p.files)),
	}
	r.ctx, r.stop = context.WithCancelCause(in.ctx)
	r.cond = sync.NewCond(&r.mu)
	for range poolSize {
		r.pool <- nil
	}
	var found uint64
	for i, have := range p.have {
		r.claimed[i] = append(spans(nil), have...)
		r.fragments += len(have)
		found += have.total()
	}
	r.arrived.Store(found)
	return r
}

// run plans, takes what comes, and ends with the digests of the files.
func (r *receiver) run() ([]string, error) {
	defer r.stop(nil)
	plan := &agentpb.LanePlan{Found: r.arrived.Load()}
	for i, f := range r.part.files {
		plan.Need = append(plan.Need, ranges(i, r.part.have[i].missing(f.Size))...)
	}
	if r.part.size()-plan.Found >= compareFrom {
		if r.base = findBase(r.part.parent, r.part.target, r.part.folder, r.part.size()); r.base != nil {
			plan.Base = r.base.offer()
		}
	}
	if !r.in.Open.GetSparse() {
		if err := r.part.reserve(); err != nil {
			return nil, err
		}
	}
	var workers sync.WaitGroup
	workers.Go(r.write)
	workers.Go(r.copyAll)
	workers.Go(r.flushes)
	defer workers.Wait()
	defer r.stop(nil)
	stop := context.AfterFunc(r.ctx, func() {
		r.mu.Lock() // so that nobody is between its look at the context and its wait
		defer r.mu.Unlock()
		r.cond.Broadcast()
	})
	defer stop()
	if door, err := openDoor(r); err == nil { // else one lane must do
		defer door.close()
		plan.Join = door.name
	}
	r.in.sink.Store(r)
	if err := r.in.send(kindPlan, plan); err != nil {
		return nil, ErrCut
	}
	sums, err := r.hash()
	if err == nil {
		err = r.awaitEnd()
	}
	return sums, err
}

// judge compares what has arrived with what was promised.
func (r *receiver) judge(h *agentpb.ModelHeader, sums []string) (*Received, error) {
	out := &Received{part: r.part}
	entries := make([]modelfile.Entry, 0, len(sums))
	for i, f := range r.part.files {
		if f.SHA256 != "" && f.SHA256 != sums[i] && h.GetFolder() {
			return nil, mismatch(f.Name, sums[i], f.SHA256)
		}
		f.SHA256 = sums[i]
		out.Files = append(out.Files, f)
		entries = append(entries, modelfile.Entry{Name: f.Name, SHA256: sums[i]})
	}
	out.SHA256 = sums[0]
	if h.GetFolder() {
		out.SHA256 = modelfile.Digest(entries)
	}
	if pin := h.GetSha256(); pin != "" {
		if out.SHA256 != pin {
			return nil, mismatch("", out.SHA256, pin)
		}
		return out, nil
	}
	if len(r.promised) != len(sums) {
		return nil, fault.New(agentpb.Reason_INVALID, "neither a digest was pinned nor were the digests of %d files sent", len(sums))
	}
	for i, sum := range sums {
		if sum != r.promised[i] {
			return nil, mismatch(r.part.files[i].Name, sum, r.promised[i])
		}
	}
	return out, nil
}

func mismatch(file, is, want string) error {
	what := "what has arrived"
	if file != "" {
		what = "what has arrived of " + file
	}
	return fault.New(agentpb.Reason_DIGEST_MISMATCH, "%s has the SHA-256 %s and not %s", what, is, want).With("sha256", is)
}

// awaitEnd waits until the client has said that it has sent all.
func (r *receiver) awaitEnd() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.ended {
		if r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		r.cond.Wait()
	}
	return nil
}

// opener keeps the file open that was used last.
type opener struct {
	part *part
	file int
	f    *os.File
}

func (o *opener) get(file int) (*os.File, error) {
	if o.f != nil && o.file == file {
		return o.f, nil
	}
	o.close()
	f, err := o.part.open(file)
	if err != nil {
		return nil, err
	}
	o.file, o.f = file, f
	return f, nil
}

func (o *opener) close() {
	if o.f != nil {
		o.f.Close()
		o.f = nil
	}
}

// write writes pieces where they belong. What has arrived when the lane ends is still written.
func (r *receiver) write() {
	files := opener{part: r.part}
	defer files.close()
	var dirty int
	for {
		var p piece
		select {
		case p = <-r.writes:
		case <-r.ctx.Done():
			select {
			case p = <-r.writes:
			default:
				return
			}
		}
		f, err := files.get(p.file)
		if err == nil {
			_, err = f.WriteAt(p.data, int64(p.offset))
		}
		if err == nil {
			err = r.part.log.add(extent{file: p.file, span: span{p.offset, p.offset + uint64(len(p.data))}, sum: crc32.Checksum(p.data, castagnoli)})
		}
		if err != nil {
			r.stop(err)
			return
		}
		if dirty += len(p.data); dirty >= flushEvery {
			dirty = 0
			select {
			case r.flush <- p.file:
			default: // the disk is slower than the wire, and is at it
			}
		}
		r.settle(p)
	}
}

// settle counts a piece that was written, and hands it to the hash if it is next in order.
func (r *receiver) settle(p piece) {
	size := uint64(len(p.data))
	r.arrived.Add(size)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.part.have[p.file].add(span{p.offset, p.offset + size})
	next := r.next
	if n := len(r.queue); n > 0 {
		last := r.queue[n-1]
		next = place{last.file, last.offset + uint64(len(last.data))}
	}
	if p.place != next || size == 0 {
		r.recycle(p)
		r.cond.Broadcast()
		return
	}
	r.queue = append(r.queue, p)
	r.cond.Broadcast()
	for len(r.queue) > maxQueued && r.ctx.Err() == nil {
		r.cond.Wait()
	}
}

func (r *receiver) recycle(p piece) { r.pool <- p.data[:cap(p.data)] }

// punch makes a hole.
func (r *receiver) punch(at place, size uint64) error {
	if size == 0 {
		return nil
	}
	f, err := r.part.open(at.file)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(at.offset), int64(size))
	if errors.Is(err, unix.EOPNOTSUPP) {
		_, err = io.CopyN(io.NewOffsetWriter(f, int64(at.offset)), zeros{}, int64(size))
	}
	if err != nil {
		return err
	}
	if err := r.part.log.add(extent{file: at.file, span: span{at.offset, at.offset + size}, zero: true}); err != nil {
		return err
	}
	r.arrived.Add(size)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.part.have[at.file].add(span{at.offset, at.offset + size})
	r.cond.Broadcast()
	return nil
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// flushes has the disk keep up with what arrives, so that the end of a push doesn't wait long
// for it and a power cut costs little.
func (r *receiver) flushes() {
	files := opener{part: r.part}
	defer files.close()
	for {
		select {
		case <-r.ctx.Done():
			return
		case file := <-r.flush:
			f, err := files.get(file)
			if err == nil {
				err = unix.Fdatasync(int(f.Fd()))
			}
			if err == nil {
				err = r.part.log.sync()
			}
			if err != nil {
				r.stop(err)
				return
			}
		}
	}
}

// hash hashes the files in order, from memory as far as it can keep up and else from the page
// cache. What an earlier attempt has left is checked on the way; what is damaged is asked for
// again.
func (r *receiver) hash() ([]string, error) {
	files := opener{part: r.part}
	defer files.close()
	buf := make([]byte, pieceSize)
	sums := make([]string, 0, len(r.part.files))
	for i, f := range r.part.files {
		sum := sha256.New()
		trust := r.part.trust[i]
		for at := uint64(0); at < f.Size; {
			p, end, err := r.await(place{i, at})
			if err != nil {
				return nil, err
			}
			if p.data != nil {
				sum.Write(p.data)
				at += uint64(len(p.data))
				r.hashed.Add(uint64(len(p.data)))
				r.recycle(p)
				continue
			}
			for len(trust) > 0 && trust[0].end <= at {
				trust = trust[1:]
			}
			end = min(end, at+pieceSize)
			var check *extent
			switch {
			case len(trust) == 0:
			case trust[0].start > at:
				end = min(end, trust[0].start)
			case trust[0].zero: // may be long, and is checked in parts
				end = min(end, trust[0].end)
				check = &extent{file: i, span: span{at, end}, zero: true}
			default:
				check, end = &trust[0], trust[0].end
			}
			r.advance(place{i, end})
			data := buf[:end-at]
			file, err := files.get(i)
			if err != nil {
				return nil, err
			}
			if _, err := file.ReadAt(data, int64(at)); err != nil && !(check != nil && errors.Is(err, io.EOF)) {
				return nil, unexpected(err)
			}
			if check != nil && !check.holds(data) {
				if err := r.askAgain(*check); err != nil {
					return nil, err
				}
				trust[0].start = end
				continue
			}
			sum.Write(data)
			at = end
			r.hashed.Add(uint64(len(data)))
		}
		sums = append(sums, hex.EncodeToString(sum.Sum(nil)))
		r.advance(place{i + 1, 0})
	}
	return sums, nil
}

// holds reports whether the bytes are those that were written.
func (e *extent) holds(data []byte) bool {
	if !e.zero {
		return crc32.Checksum(data, castagnoli) == e.sum
	}
	for _, b := range data {
		if b != 0 {
			return false
		}
	}
	return true
}

// await waits until the bytes at a place are there: as a piece in memory, or on the disk up to
// end.
func (r *receiver) await(at place) (p piece, end uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if len(r.queue) > 0 && r.queue[0].place == at {
			p = r.queue[0]
			r.queue = r.queue[1:]
			r.next = place{at.file, at.offset + uint64(len(p.data))}
			r.cond.Broadcast()
			return p, 0, nil
		}
		if end := r.part.have[at.file].until(at.offset); end > at.offset {
			return piece{}, end, nil
		}
		if r.ctx.Err() != nil {
			return piece{}, 0, context.Cause(r.ctx)
		}
		if r.ended && len(r.claimed[at.file].missing(r.part.files[at.file].Size)) > 0 {
			return piece{}, 0, r.short()
		}
		r.cond.Wait()
	}
}

// short is the error of a client that says that it has sent all and has not.
func (r *receiver) short() error {
	var got uint64
	for _, c := range r.claimed {
		got += c.total()
	}
	return fault.New(agentpb.Reason_DIGEST_MISMATCH, "%d bytes have arrived of the %d that were promised", got, r.part.size())
}

// advance says where the hash goes on, so that the next piece in order is kept for it.
func (r *receiver) advance(at place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		r.next = at
	}
}

// askAgain asks for bytes that are damaged.
func (r *receiver) askAgain(e extent) error {
	r.mu.Lock()
	r.part.have[e.file].remove(e.span)
	r.claimed[e.file].remove(e.span)
	r.arrived.Add(-(e.end - e.start))
	r.asked++
	r.ended, r.ends = false, 0
	// What is behind it is on the disk, and would fill the queue before these bytes are there.
	for _, p := range r.queue {
		r.recycle(p)
	}
	r.queue, r.next = nil, place{e.file, e.start}
	r.cond.Broadcast()
	r.mu.Unlock()
	if err := r.in.send(kindNeed, &agentpb.LaneNeed{Need: ranges(e.file, []span{e.span})}); err != nil {
		return ErrCut
	}
	return nil
}
