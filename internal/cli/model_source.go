package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/modelfile/header"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/transfer"
)

// looker looks at the sources that a host file names, or is to name, wherever they are: it opens
// them, and finds out their digests. It has one connection to the host, made when it is needed.
type looker struct {
	cmd  *cobra.Command
	host *hostfile.Host
	conn *remote.Conn
	now  func() time.Time
}

func newLooker(cmd *cobra.Command, h *hostfile.Host) *looker {
	return &looker{cmd: cmd, host: h, now: time.Now}
}

func (l *looker) close() {
	if l.conn != nil {
		_ = l.conn.Close() // it only looked
	}
}

func (l *looker) options() source.Options {
	return source.Options{Token: os.Getenv(tokenVariable), Hub: l.host.Hub, Cache: source.UserCache(), Dial: l.dial}
}

// tokenVariable is where a token for private models is taken from where no stack has one.
const tokenVariable = "HF_TOKEN"

// dial reaches another host, or, for a source without an address, the host itself.
func (l *looker) dial(ctx context.Context, s modelfile.Source) (source.Host, io.Closer, error) {
	if s.Address != "" {
		conn, err := remote.Dial(ctx, remote.Target{Address: s.Address, Port: s.Port, User: s.User}, connection(l.cmd))
		if err != nil {
			return nil, nil, err
		}
		return conn.Agent(), conn, nil
	}
	if l.conn == nil {
		conn, err := remote.Dial(ctx, targetOf(l.host), connection(l.cmd))
		if err != nil {
			return nil, nil, err
		}
		l.conn = conn
	}
	return l.conn.Agent(), io.NopCloser(nil), nil
}

func (l *looker) open(ctx context.Context, s modelfile.Source) (transfer.Source, error) {
	if s.Kind == modelfile.Host {
		s.Kind = modelfile.SSH // without an address
	}
	return source.Open(ctx, s, l.options())
}

// pin finds out the digest of what a host file names, says where it is from, and what the model's shape is if that is another
// one than the host file's. A source that is no model has none, which is said where it is deployed.
func (l *looker) pin(ctx context.Context, p hostfile.Pin) (sum, origin string, shape *hostfile.Shape, err error) {
	src, err := l.open(ctx, p.Source)
	if err != nil {
		return "", "", nil, err
	}
	defer src.Close()
	if sum, origin, err = l.digest(ctx, p.Source, src, ""); err != nil || p.Block == "engine" {
		return sum, origin, nil, err
	}
	d, err := header.Check(ctx, src, header.Options{Role: header.Role(p.Kind), AllowPickle: true})
	var none *header.Error
	switch {
	case errors.As(err, &none):
		return sum, origin, nil, nil
	case err != nil:
		return "", "", nil, err
	}
	if shape = shapeOf(d); shape.Same(p.Shape) {
		shape = nil
	}
	return sum, origin, shape, nil
}

// shapeOf is what a model's headers say of how much memory it needs, nil if they don't.
func shapeOf(d header.Description) *hostfile.Shape {
	if d.Weights == 0 {
		return nil
	}
	return &hostfile.Shape{
		Size: hostfile.Bytes(d.Weights), Layers: int(d.Layers), KVPerToken: hostfile.Bytes(d.KVPerToken),
		Vocabulary: int(d.Vocabulary), Width: int(d.Width),
	}
}

// projectors are sources beside a model's that look like its projectors, as they would be typed.
// None is found where that can't be told: it is only a hint.
func (l *looker) projectors(ctx context.Context, s modelfile.Source, typed string) []string {
	names := []string{}
	if _, shard := s.Shard(); s.Folder && !shard {
		return names
	}
	switch s.Kind {
	case modelfile.Local:
		entries, err := os.ReadDir(filepath.Dir(s.Path))
		if err != nil {
			return names
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
	case modelfile.Hub:
		text := strings.TrimSuffix(s.Text, "/"+s.Path)
		if folder := path.Dir(s.Path); folder != "." {
			text += "/" + folder
		}
		folder, err := modelfile.ParseSource(text)
		if err != nil {
			return names
		}
		src, err := l.open(ctx, folder)
		if err != nil {
			return names
		}
		defer src.Close()
		for _, f := range src.Files() {
			names = append(names, f.Name)
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return strings.Contains(name, "/") || !isProjector(name) })
	for i := range names {
		names[i] = strings.TrimSuffix(typed, path.Base(typed)) + names[i]
	}
	return names
}

// digest finds out a source's digest, and says where it is from. What is expected, if anything, is taken where the bytes would
// have to be downloaded.
func (l *looker) digest(ctx context.Context, s modelfile.Source, src transfer.Source, expected string) (sum, origin string, err error) {
	size, unknown := uint64(0), uint64(0)
	for _, f := range src.Files() {
		size += f.Size
		if f.SHA256 == "" {
			unknown += f.Size
		}
	}
	if s.Kind == modelfile.HTTPS && !s.Folder && unknown > 0 {
		if sum, err := source.Published(ctx, s, l.options()); err != nil || sum != "" {
			return sum, l.dated("as published beside it"), err
		}
	}
	if s.Kind == modelfile.HTTPS && unknown > 0 && expected != "" {
		return expected, l.dated("as given to llmhost model add"), nil
	}
	if s.Kind == modelfile.HTTPS && unknown > 0 {
		fmt.Fprintf(l.cmd.ErrOrStderr(), "%s: its server says no digest: reading %s to compute it, which keeps nothing\n", s.Text, humanize.IBytes(unknown))
	}
	view := progressView(l.cmd, false)
	defer view.Clear()
	sum, _, err = source.Digest(ctx, src, func(p transfer.Progress) { view.Show(s.Name(), p) })
	if err != nil {
		return "", "", err
	}
	switch {
	case s.Kind == modelfile.Hub && unknown < size:
		origin = "as the hub lists it"
	case s.Kind == modelfile.HTTPS && unknown == 0:
		origin = "as the server says"
	case s.Kind == modelfile.SSH:
		origin = "as " + s.Address + " has it"
	case s.Kind == modelfile.Host:
		origin = "as the host has it"
	case s.Kind == modelfile.Local:
		origin = "of the local file"
		if s.Folder {
			origin = "of the local files"
		}
	default:
		origin = "of what was downloaded"
	}
	return sum, l.dated(origin), nil
}

// dated ends as hostfile.Origin knows llmhost's own remarks.
func (l *looker) dated(origin string) string {
	return origin + ", on " + l.now().Format(time.DateOnly)
}

// written is how a source is written into a host file. A local path is written so that it is found from there: relative in
// the project, with ~ in the home folder.
func written(s modelfile.Source, typed, hostFile string) (modelfile.Source, error) {
	if s.Kind != modelfile.Local {
		return s, nil
	}
	var err error
	if s.Path, err = localPath(typed); err != nil {
		return s, err
	}
	folder, err := filepath.Abs(filepath.Dir(hostFile))
	if err != nil {
		return s, fmt.Errorf("%s: %w", hostFile, err)
	}
	s.Text = shortenHome(s.Path)
	if relative, err := filepath.Rel(folder, s.Path); err == nil && strings.Count(relative, "../") <= 1 {
		s.Text = relative
	}
	return s, nil
}

// localPath is a path that was typed: the shell leaves a ~ in quotes as it is.
func localPath(typed string) (string, error) {
	if rest, ok := strings.CutPrefix(typed, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("%s: %w", typed, err)
		}
		typed = filepath.Join(home, rest)
	}
	path, err := filepath.Abs(typed)
	if err != nil {
		return "", fmt.Errorf("%s: %w", typed, err)
	}
	return path, nil
}
