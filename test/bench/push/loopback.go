package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/remote/agentbin"
)

const large = 4 << 30 // from this size on, each way runs once

// sizeTable is what was measured with a model of one size.
type sizeTable struct {
	Size   uint64       `json:"size"` // bytes
	Ways   []*way       `json:"ways"`
	Deltas []*deltaRow  `json:"deltas"`
	Cut    *cutResult   `json:"cut"`
	Twice  *twiceResult `json:"unchanged"`
}

// way is a way to bring a model to the host.
type way struct {
	Name    string    `json:"name"`
	Samples []*sample `json:"samples"`

	once func(context.Context) (*sample, error)
}

// median is the run in the middle, by time.
func (w *way) median() *sample {
	sorted := slices.SortedFunc(slices.Values(w.Samples), func(a, b *sample) int { return cmp.Compare(a.Seconds, b.Seconds) })
	return sorted[(len(sorted)-1)/2]
}

const (
	wayRaw      = "raw SSH channel (x/crypto/ssh, aes128-gcm) to dd"
	wayPinned   = "llmhost model push, digest pinned"
	wayUnpinned = "llmhost model push, digest unknown"
	wayScp      = "scp"
	wayScpSums  = "scp, then sha256sum at both ends"
	wayRsync    = "rsync --whole-file"
	waySftp     = "sftp"
)

// deltaRow is a push of a changed model to a host that has the old one.
type deltaRow struct {
	Change  string  `json:"change"`
	Way     string  `json:"way"`
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"`  // seconds, at both ends
	Sent    float64 `json:"sent"` // on the wire to the host, part of the size
}

type cutResult struct {
	At     float64 `json:"at"`     // part of the size
	Resent uint64  `json:"resent"` // bytes on the wire beyond the model's size
}

type twiceResult struct {
	Seconds float64 `json:"seconds"`
	Reads   int     `json:"reads"` // of the model's files, at both ends together
}

// bench is a host and a model.
type bench struct {
	*options
	far   *far
	host  place
	work  string
	model string // the file here
	there string // the folder on the host
	size  uint64
	pin   string
	self  string
}

func newBench(ctx context.Context, o *options, work string, size uint64) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, work: work, size: size, self: self, model: filepath.Join(work, "here", "model.gguf"), there: filepath.Join(work, "there")}
	for _, dir := range []string{filepath.Dir(b.model), b.there, filepath.Join(work, "home")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if b.far, err = startFar(ctx, nil, filepath.Join(work, "sshd"), filepath.Join(work, "home"), ""); err != nil {
		return nil, err
	}
	b.host = b.far.place
	return b, nil
}

func (b *bench) close() { b.far.stop() }

func loopback(ctx context.Context, o *options, work string) (tables []*sizeTable, err error) {
	var free unix.Statfs_t
	if err := unix.Statfs(work, &free); err != nil {
		return nil, err
	}
	if most := slices.Max(o.sizes); most*7/2 > free.Bavail*uint64(free.Bsize) {
		return nil, fmt.Errorf("%s has %s free, and a model of %s takes three times its size there: choose smaller -sizes or another -dir",
			o.dir, humanize.Bytes(free.Bavail*uint64(free.Bsize)), humanize.Bytes(most))
	}
	for _, size := range o.sizes {
		t, err := loopbackOf(ctx, o, filepath.Join(work, "loopback"), size)
		if err != nil {
			return nil, err
		}
		tables = append(tables, t)
		t.print(o.out)
	}
	return tables, nil
}

func loopbackOf(ctx context.Context, o *options, work string, size uint64) (*sizeTable, error) {
	defer os.RemoveAll(work)
	b, err := newBench(ctx, o, work, size)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if b.pin, err = writeRandom(b.model, size, o.seed); err != nil {
		return nil, err
	}
	t := &sizeTable{Size: size, Ways: b.ways()}
	// One that nobody times puts the agent on the host.
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	runs := o.runs
	if size > large {
		runs = 1
	}
	for range runs {
		for _, w := range t.Ways {
			if w.once == nil {
				continue
			}
			if err := b.clear(); err != nil {
				return nil, err
			}
			s, err := w.once(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.Name, err)
			}
			w.Samples = append(w.Samples, s)
			if err := sameContent(b.model, b.target()); err != nil {
				return nil, fmt.Errorf("%s: %w", w.Name, err)
			}
		}
	}
	if t.Twice, err = b.twice(ctx); err != nil {
		return nil, err
	}
	if t.Deltas, err = b.deltas(ctx); err != nil {
		return nil, err
	}
	if t.Cut, err = b.cut(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

func (b *bench) target() string { return filepath.Join(b.there, filepath.Base(b.model)) }

// clear empties the host's folder, and forgets the digests that were remembered here.
func (b *bench) clear() error {
	for _, dir := range []string{b.there, filepath.Join(b.work, "config", "cache", "llmhost", "digests")} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return os.Mkdir(b.there, 0o755)
}

// push is the command that a user types.
func (b *bench) push(host place, file string, more ...string) command {
	config := filepath.Join(b.work, "config")
	url := fmt.Sprintf("ssh://%s@%s:%d%s/", host.user, host.address, host.port, b.there)
	return command{
		args: append([]string{b.bin, "model", "push", file, url, "--identity", host.key, "--known-hosts", host.known}, more...),
		env:  []string{agentbin.DirVariable + "=" + b.agents, "HOME=" + config, "XDG_CACHE_HOME=" + filepath.Join(config, "cache"), "XDG_CONFIG_HOME=" + config, "SSH_AUTH_SOCK=", "NO_COLOR=1"},
	}
}

func (b *bench) prepare(ctx context.Context) error {
	small := filepath.Join(b.work, "here", "small.gguf")
	if err := os.WriteFile(small, []byte("GGUF"), 0o644); err != nil {
		return err
	}
	_, err := b.far.measure(ctx, b.push(b.host, small))
	return err
}

func (b *bench) measure(ctx context.Context, args ...string) (*sample, error) {
	return b.far.measure(ctx, command{args: args})
}

// ways are all ways. scp and its check are one run, of which the first part is a row too.
func (b *bench) ways() []*way {
	scp := &way{Name: wayScp}
	return []*way{
		{Name: wayRaw, once: func(ctx context.Context) (*sample, error) {
			return b.measure(ctx, b.host.rawArgs(b.self, b.model, b.target())...)
		}},
		{Name: wayPinned, once: func(ctx context.Context) (*sample, error) {
			return b.far.measure(ctx, b.push(b.host, b.model, "--sha256", b.pin))
		}},
		{Name: wayUnpinned, once: func(ctx context.Context) (*sample, error) {
			return b.far.measure(ctx, b.push(b.host, b.model))
		}},
		{Name: wayRsync, once: func(ctx context.Context) (*sample, error) {
			return b.rsync(ctx, b.host, "--whole-file")
		}},
		{Name: waySftp, once: func(ctx context.Context) (*sample, error) {
			batch := filepath.Join(b.work, "batch")
			if err := os.WriteFile(batch, []byte("put "+b.model+" "+b.target()+"\n"), 0o600); err != nil {
				return nil, err
			}
			return b.measure(ctx, slices.Concat([]string{"sftp", "-q", "-b", batch}, b.host.options(), []string{b.host.login()})...)
		}},
		scp,
		{Name: wayScpSums, once: func(ctx context.Context) (*sample, error) {
			s, err := b.measure(ctx, slices.Concat([]string{"scp", "-q"}, b.host.options(), []string{b.model, b.host.login() + ":" + b.target()})...)
			if err != nil {
				return nil, err
			}
			scp.Samples = append(scp.Samples, s)
			total := *s
			for _, args := range [][]string{
				{"sha256sum", b.model},
				slices.Concat([]string{"ssh"}, b.host.options(), []string{b.host.login(), "sha256sum", b.target()}),
			} {
				s, err := b.measure(ctx, args...)
				if err != nil {
					return nil, err
				}
				if !bytes.HasPrefix(s.Output, []byte(b.pin)) {
					return nil, fmt.Errorf("%s says %s", args[0], s.Output)
				}
				total.Seconds, total.ClientCPU, total.HostCPU = total.Seconds+s.Seconds, total.ClientCPU+s.ClientCPU, total.HostCPU+s.HostCPU
			}
			return &total, nil
		}},
	}
}

func (b *bench) rsync(ctx context.Context, host place, more ...string) (*sample, error) {
	shell := strings.Join(append([]string{"ssh"}, host.options()...), " ")
	return b.measure(ctx, slices.Concat([]string{"rsync", "-e", shell}, more, []string{b.model, host.login() + ":" + b.target()})...)
}

// twice pushes what is there already, under the kernel's eyes.
func (b *bench) twice(ctx context.Context) (*twiceResult, error) {
	if err := b.clear(); err != nil {
		return nil, err
	}
	if _, err := b.far.measure(ctx, b.push(b.host, b.model)); err != nil {
		return nil, err
	}
	var took []float64
	n := 0
	for range max(b.runs, 3) {
		reads, err := watchReads(b.model, b.target())
		if err != nil {
			return nil, err
		}
		s, err := b.far.measure(ctx, b.push(b.host, b.model))
		if err != nil {
			reads.close()
			return nil, err
		}
		took = append(took, s.Seconds)
		seen, err := reads.close()
		if err != nil {
			return nil, err
		}
		n += seen
	}
	slices.Sort(took)
	return &twiceResult{Seconds: took[len(took)/2], Reads: n}, nil
}

// reads counts how often files are read, by anybody.
type reads struct{ fd int }

func watchReads(files ...string) (*reads, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if _, err := unix.InotifyAddWatch(fd, file, unix.IN_ACCESS); err != nil {
			unix.Close(fd)
			return nil, &os.PathError{Op: "watch", Path: file, Err: err}
		}
	}
	return &reads{fd}, nil
}

func (r *reads) close() (n int, err error) {
	defer unix.Close(r.fd)
	buf := make([]byte, 64<<10)
	for {
		got, err := unix.Read(r.fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += got / unix.SizeofInotifyEvent // events of a watched file have no name
	}
}

// deltas changes the model and pushes it to a host that has the old one. The files are made so
// that a third copy is never needed.
func (b *bench) deltas(ctx context.Context) (rows []*deltaRow, err error) {
	const grown = 4096
	changes := []struct {
		name string
		make func() error // the host has the old version and this machine the new one
	}{
		{"header grown by 4 KiB", func() error { // the old one lacks the first bytes of the new one
			if err := b.clear(); err != nil {
				return err
			}
			return copyFrom(b.target(), b.model, grown)
		}},
		{"1 % changed in one place", func() error {
			if err := b.clear(); err != nil {
				return err
			}
			if err := copyFrom(b.target(), b.model, 0); err != nil {
				return err
			}
			b.seed++
			return overwrite(b.model, int64(b.size/3), int64(b.size/100), b.seed)
		}},
	}
	for _, c := range changes {
		for _, way := range []struct {
			name string
			run  func(host place) (*sample, error)
		}{
			{"llmhost", func(host place) (*sample, error) {
				return b.far.measure(ctx, b.push(host, b.model, "--sha256", b.pin))
			}},
			{"rsync", func(host place) (*sample, error) { return b.rsync(ctx, host, "--no-whole-file", "--ignore-times") }},
		} {
			if err := c.make(); err != nil {
				return nil, err
			}
			if b.pin, err = sum(b.model); err != nil {
				return nil, err
			}
			w, err := b.wire(0)
			if err != nil {
				return nil, err
			}
			s, err := way.run(w.place)
			w.close()
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", way.name, c.name, err)
			}
			if err := sameContent(b.model, b.target()); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", way.name, c.name, err)
			}
			rows = append(rows, &deltaRow{Change: c.name, Way: way.name, Seconds: s.Seconds, CPU: s.ClientCPU + s.HostCPU, Sent: float64(w.up.Load()) / float64(b.size)})
		}
	}
	return rows, nil
}

func (b *bench) wire(limit int64) (*wire, error) {
	return newWire(b.host, b.far.hostKey, filepath.Join(b.work, "known_hosts_wire"), limit)
}

// cut cuts a push at a random byte and does it again.
func (b *bench) cut(ctx context.Context) (*cutResult, error) {
	if err := b.clear(); err != nil {
		return nil, err
	}
	at := 0.05 + 0.9*rand.New(rand.NewPCG(b.seed, b.size)).Float64()
	var sent uint64
	for _, limit := range []int64{int64(at * float64(b.size)), 0} {
		w, err := b.wire(limit)
		if err != nil {
			return nil, err
		}
		_, err = b.far.measure(ctx, b.push(w.place, b.model, "--sha256", b.pin))
		w.close()
		if (err == nil) != (limit == 0) {
			return nil, fmt.Errorf("a push over a link that is cut after %d bytes (0: never): %v", limit, err)
		}
		sent += uint64(w.up.Load())
	}
	if err := sameContent(b.model, b.target()); err != nil {
		return nil, err
	}
	return &cutResult{At: at, Resent: sent - min(sent, b.size)}, nil
}

func (t *sizeTable) by(name string) *sample {
	for _, w := range t.Ways {
		if w.Name == name {
			return w.median()
		}
	}
	return &sample{}
}

func (t *sizeTable) targets() []target {
	of := " (" + humanize.Bytes(t.Size) + ")"
	pinned := t.by(wayPinned)
	out := []target{
		{"pinned push, × rsync --whole-file" + of, t.by(wayRsync).Seconds / pinned.Seconds, 1.6, true, ""},
		{"pinned push, × scp and sha256sum at both ends" + of, t.by(wayScpSums).Seconds / pinned.Seconds, 4, true, ""},
		{"pinned push, × raw channel" + of, t.by(wayRaw).Seconds / pinned.Seconds, 0.75, true, ""},
		{"unchanged push" + of, t.Twice.Seconds, 0.5, false, " s"},
		{"unchanged push, reads of the model's files" + of, float64(t.Twice.Reads), 0, false, ""},
		{"after a cut, re-sent" + of, float64(t.Cut.Resent) / (1 << 20), 32, false, " MiB"},
		{"memory here, without pages of the program's file" + of, pinned.OwnMB, 100, false, " MB"},
		{"memory of the agent" + of, pinned.AgentMB, 100, false, " MB"},
	}
	for _, d := range t.Deltas {
		if d.Way == "llmhost" {
			out = append(out, target{d.Change + ", sent" + of, 100 * d.Sent, 3, false, " %"})
		}
	}
	return out
}

func (t *sizeTable) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s of random bytes, runs: %d (median)\n\n", humanize.Bytes(t.Size), len(t.Ways[0].Samples))
	fmt.Fprintln(w, "| way | s | MB/s | × raw | CPU s/GB here | CPU s/GB host | MB here (without program) | MB agent |\n|---|--:|--:|--:|--:|--:|--:|--:|")
	raw, gb := t.by(wayRaw).Seconds, float64(t.Size)/1e9
	for _, way := range t.Ways {
		s := way.median()
		agent := "—"
		if s.AgentMB > 0 {
			agent = fmt.Sprintf("%.0f", s.AgentMB)
		}
		fmt.Fprintf(w, "| %s | %.2f | %.0f | %.2f | %.2f | %.2f | %.0f (%.0f) | %s |\n", way.Name, s.Seconds, 1e3*gb/s.Seconds, raw/s.Seconds,
			s.ClientCPU/gb, s.HostCPU/gb, s.ClientMB, s.OwnMB, agent)
	}
	fmt.Fprintf(w, "\nUnchanged: %.2f s; the model's files were read %d times at both ends together.\n", t.Twice.Seconds, t.Twice.Reads)
	fmt.Fprintf(w, "Cut after %.0f %%: %.1f MiB sent again.\n\n", 100*t.Cut.At, float64(t.Cut.Resent)/(1<<20))
	fmt.Fprintln(w, "| change | way | sent | s | CPU s, both ends |\n|---|---|--:|--:|--:|")
	for _, d := range t.Deltas {
		fmt.Fprintf(w, "| %s | %s | %.2f %% | %.2f | %.2f |\n", d.Change, d.Way, 100*d.Sent, d.Seconds, d.CPU)
	}
}

// writeRandom writes a file that nothing compresses, and returns its digest.
func writeRandom(file string, size, seed uint64) (string, error) {
	f, err := os.Create(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(io.MultiWriter(f, h), io.LimitReader(random(seed), int64(size)), make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), f.Close()
}

func random(seed uint64) io.Reader {
	return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), 1})
}

func overwrite(file string, offset, length int64, seed uint64) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(io.NewOffsetWriter(f, offset), random(seed), length); err != nil {
		return err
	}
	return f.Close()
}

func copyFrom(to, from string, offset int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := in.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

func sum(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return hex.EncodeToString(h.Sum(nil)), err
}

func sameContent(a, b string) error {
	out, err := exec.Command("cmp", "--", a, b).CombinedOutput()
	if err != nil {
		return fmt.Errorf("what has arrived differs: %s (%w)", out, err)
	}
	return nil
}
