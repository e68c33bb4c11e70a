// Package header reads what a model's files say of themselves, and refuses what is no model.
//
// It exists so that a truncated download, a file of the wrong kind, or a format that runs code
// when it is loaded is found by a person's own command and not by a server that doesn't start.
// It reads headers alone: some megabytes of a model of any size, wherever it is. The files may be
// hostile, so nothing is allocated by a number that they hold before that number was compared
// with the file's size and with a limit.
//
// It isn't part of package modelfile, so that the agent, which runs as root, has no parser.
package header

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/transfer"
)

// Role is what a model's file is for.
type Role string

// The roles of files. Those of companions are written in host files.
const (
	Model  Role = ""
	MMProj Role = "mmproj" // turns images or sound into what a model reads
	LoRA   Role = "lora"   // an adapter
	Draft  Role = "draft"  // a model that guesses ahead
)

// Options are what is asked of a model.
type Options struct {
	Role        Role
	AllowPickle bool // accept formats that run code when they are loaded
}

// Description is what a model's headers say. Texts come from the files, without what could steer
// a terminal.
type Description struct {
	Format       string   `json:"format"`                 // GGUF, safetensors or pickle
	Name         string   `json:"name,omitempty"`         // as its author calls it
	Architecture string   `json:"architecture,omitempty"` // as GGUF or the configuration calls it
	Quantization string   `json:"quantization,omitempty"` // such as Q4_K_M or BF16
	Parameters   uint64   `json:"parameters,omitempty"`   // elements of all tensors; 0: unknown
	Context      uint64   `json:"context,omitempty"`      // tokens that it was trained with; 0: unknown
	Size         uint64   `json:"size"`                   // bytes of all files
	Files        int      `json:"files"`
	Weights      uint64   `json:"weights,omitempty"`    // bytes of all tensors
	Layers       uint64   `json:"layers,omitempty"`     // transformer blocks; 0: unknown
	KVPerToken   uint64   `json:"kvPerToken,omitempty"` // bytes that a token takes in the KV cache, with 16 bits a number; 0: none, or unknown
	Vocabulary   uint64   `json:"vocabulary,omitempty"` // tokens; 0: unknown
	Width        uint64   `json:"width,omitempty"`      // length of an embedding; 0: unknown
	Warnings     []string `json:"warnings,omitempty"`   // what a server may stumble over
}

// Error is why files are no model that may be used.
type Error struct {
	File    string // relative name; empty for a model that is a single file, or for all files
	Problem string // continues a sentence whose subject is the file
	Hint    string // what to do; may be empty
}

// Error returns the sentence with the hint.
func (e *Error) Error() string {
	text := "the model " + e.Problem
	if e.File != "" {
		text = fmt.Sprintf("%q %s", e.File, e.Problem)
	}
	if e.Hint != "" {
		text += ". " + e.Hint
	}
	return text
}

func wrong(problem string, args ...any) *Error { return &Error{Problem: fmt.Sprintf(problem, args...)} }

func (e *Error) hint(text string, args ...any) *Error {
	e.Hint = fmt.Sprintf(text, args...)
	return e
}

// Check reads the headers of a model's files. An *Error says that they are no model that may be
// used; another error, that they could not be read.
func Check(ctx context.Context, src transfer.Source, o Options) (Description, error) {
	c := checker{ctx: ctx, src: src, options: o, names: map[string]int{}}
	return c.check()
}

// checker looks at the files of one model.
type checker struct {
	ctx     context.Context
	src     transfer.Source
	options Options
	names   map[string]int // files by name
	d       Description
}

func (c *checker) check() (Description, error) {
	files := c.src.Files()
	kinds, err := c.kinds()
	if err != nil {
		return Description{}, err
	}
	var ggufs, safetensors, pickles []int
	for i, f := range files {
		c.names[f.Name] = i
		c.d.Files++
		c.d.Size += f.Size
		switch kinds[i] {
		case kindGGUF:
			ggufs = append(ggufs, i)
		case kindSafetensors:
			safetensors = append(safetensors, i)
		case kindPickle:
			pickles = append(pickles, i)
		}
	}
	if len(pickles) > 0 && !c.options.AllowPickle {
		return Description{}, (&Error{File: files[pickles[0]].Name, Problem: "is a Python pickle, which runs code when it is loaded"}).
			hint("Use the model's .safetensors or .gguf files, or accept it with allow_pickle = true")
	}
	switch {
	case len(ggufs) > 0:
		err = c.checkGGUFs(ggufs)
	case len(safetensors) > 0:
		err = c.checkSafetensors(safetensors)
	case len(pickles) > 0:
		c.d.Format = "pickle"
		err = c.readConfig()
	default:
		err = wrong("has no GGUF and no safetensors file")
	}
	if err != nil {
		return Description{}, err
	}
	c.warnOfCode()
	return c.d, nil
}

func (c *checker) has(name string) bool {
	_, ok := c.names[name]
	return ok
}

func (c *checker) warn(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(c.d.Warnings, text) {
		c.d.Warnings = append(c.d.Warnings, text)
	}
}

// warnOfCode names programs, which some engines run on demand (trust_remote_code).
func (c *checker) warnOfCode() {
	for _, f := range c.src.Files() {
		if path.Ext(f.Name) == ".py" {
			c.warn("%s is a program that some engines run when they are asked to trust the model's code", printable(f.Name))
			return
		}
	}
}

type kind int

const (
	kindOther kind = iota
	kindGGUF
	kindSafetensors
	kindPickle
)

// kinds looks at the beginnings of all files, several at once, since each may be a request.
func (c *checker) kinds() ([]kind, error) {
	const atOnce = 8
	files := c.src.Files()
	kinds, errs := make([]kind, len(files)), make([]error, len(files))
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i := range files {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			kinds[i], errs[i] = c.kind(i)
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, named(files[i].Name, err)
		}
	}
	return kinds, nil
}

// pickleSuffixes are those that PyTorch and joblib give to pickles.
var pickleSuffixes = []string{".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"}

// kind decides what a file is by its name and its first bytes.
func (c *checker) kind(i int) (kind, error) {
	name := strings.ToLower(c.src.Files()[i].Name)
	if slices.Contains(pickleSuffixes, path.Ext(name)) {
		return kindPickle, nil
	}
	start, err := c.start(i, 10)
	if err != nil {
		return 0, err
	}
	switch {
	case isPickle(start):
		return kindPickle, nil
	case strings.HasPrefix(string(start), ggufMagic):
		return kindGGUF, nil
	case path.Ext(name) == ".safetensors" || name == "" && isSafetensors(start):
		return kindSafetensors, nil
	case path.Ext(name) == ".gguf" || name == "": // a model that is one file is GGUF
		return 0, notGGUF(start)
	}
	return kindOther, nil
}

// isPickle recognizes the archive that PyTorch writes (a zip file), an older one, and a pickle of
// protocol 2 and above, which starts with its opcode PROTO.
func isPickle(start []byte) bool {
	text := string(start)
	return strings.HasPrefix(text, "PK\x03\x04") || strings.HasPrefix(text, "PK\x05\x06") ||
		len(start) > 2 && start[0] == 0x80 && start[1] >= 2 && start[1] <= 5
}

// start returns the first bytes of a file, as many as it has.
func (c *checker) start(i, n int) ([]byte, error) {
	n = int(min(uint64(n), c.src.Files()[i].Size))
	if n == 0 {
		return nil, nil
	}
	r, err := c.src.Open(c.ctx, i, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	start := make([]byte, n)
	_, err = io.ReadFull(r, start)
	return start, err
}

// open returns a file as a stream from its start.
func (c *checker) open(i int) (*stream, io.Closer, error) {
	r, err := c.src.Open(c.ctx, i, 0)
	if err != nil {
		return nil, nil, err
	}
	return &stream{r: bufio.NewReaderSize(r, 64<<10), size: c.src.Files()[i].Size}, r, nil
}

// named says in an error which file it is about.
func named(file string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		e.File = file
		return err
	}
	if file != "" {
		return fmt.Errorf("read the header of %q: %w", file, err)
	}
	return fmt.Errorf("read the model's header: %w", err)
}

// missing is the error for files that should be there as well.
func missing(names []string) error {
	const most = 3
	shown := names[:min(most, len(names))]
	quoted := make([]string, len(shown))
	for i, n := range shown {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	text := strings.Join(quoted, ", ")
	if more := len(names) - len(shown); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return wrong("isn't complete: it lacks %s", text)
}

// missingShards returns the names of the set's shards that aren't there, in the same folder.
func (c *checker) missingShards(dir string, s modelfile.Shard) []string {
	var lacking []string
	for _, name := range s.All() {
		if name = path.Join(dir, name); !c.has(name) {
			lacking = append(lacking, name)
		}
	}
	return lacking
}

// printable is a text from a file without what could steer a terminal, and not too long.
func printable(s string) string {
	const most = 100
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return s
}

// stream is a file that is read from its start. It never reads beyond the file's size, and what
// it returns is never larger than what its caller allows.
type stream struct {
	r    *bufio.Reader
	size uint64
	read uint64 // bytes so far
}

// errEnds is the error for a file that ends too early.
var errEnds = &Error{Problem: "ends within its header", Hint: "It is truncated: get it again"}

// fits reports an error if the file has fewer than n bytes left.
func (s *stream) fits(n uint64) error {
	if n > s.size-s.read {
		e := *errEnds
		return &e
	}
	return nil
}

// bytes reads n bytes, of which the caller knows that they aren't many.
func (s *stream) bytes(n uint64) ([]byte, error) {
	if err := s.fits(n); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if err := s.fill(b); err != nil {
		return nil, err
	}
	return b, nil
}

func (s *stream) fill(b []byte) error {
	if err := s.fits(uint64(len(b))); err != nil {
		return err
	}
	n, err := io.ReadFull(s.r, b)
	s.read += uint64(n)
	return ended(err)
}

func (s *stream) skip(n uint64) error {
	if err := s.fits(n); err != nil {
		return err
	}
	done, err := s.r.Discard(int(n)) // no more than maxHeader
	s.read += uint64(done)
	return ended(err)
}

// ended makes an early end of the stream, which is shorter than it was listed, a plain error: the
// file isn't to blame.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it ended early: %w", io.ErrUnexpectedEOF)
	}
	return err
}
