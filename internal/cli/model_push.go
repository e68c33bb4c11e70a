package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/progress"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/transfer"
)

// pushed is a push's result.
type pushed struct {
	Host    string       `json:"host"`
	Path    string       `json:"path"`
	Folder  bool         `json:"folder"`
	SHA256  string       `json:"sha256"` // of the file, or of the folder's manifest
	Size    uint64       `json:"size"`   // bytes, of all files
	Files   []pushedFile `json:"files"`
	Changed bool         `json:"changed"` // false: these very bytes were there already
	Sent    uint64       `json:"sent"`    // bytes that went over the wire
	Found   uint64       `json:"found"`   // bytes that the host had
	Seconds float64      `json:"seconds"`
}

type pushedFile struct {
	Name   string `json:"name"`
	Size   uint64 `json:"size"`
	SHA256 string `json:"sha256"`
}

// modelPush holds the choices of a push.
type modelPush struct {
	login  login
	stack  string
	name   string
	sha256 string
	hub    string
	mkdir  bool
	whole  bool
	asJSON bool
}

func newModelPushCmd() *cobra.Command {
	var c modelPush
	cmd := &cobra.Command{
		Use:   "push (MODEL ssh://[user@]host[:port]/FOLDER/ | NAME… -s HOST)",
		Short: "Bring a model to a host, verified",
		Long: "Send a file or a folder of this machine to a folder of a host, where it has the same name. The host\n" +
			"hashes what it receives while it comes, and the model has its name only when it is whole and on the\n" +
			"disk. No stack, no project, and no sudo is needed: llmhost works there as the user who logs in.\n\n" +
			"MODEL may also be an https:// address, a repository on a hub (hf://ORG/REPO@REVISION) or a model on\n" +
			"another host (ssh://…): its bytes then go through this machine and stay nowhere on the way. A token\n" +
			"for private ones is taken from " + tokenVariable + ".\n\n" +
			"A push that was interrupted by whatever it was goes on where it stopped when the same command is\n" +
			"given again. A model that is there already isn't sent, and isn't read again at either end. The name\n" +
			"of one GGUF shard stands for all shards of its set, which become a folder.\n\n" +
			"The last line of the output is the model's SHA-256 and its place there, as sha256sum writes it; of a\n" +
			"folder it is the digest of its manifest (docs/models.md).\n\n" +
			"With -s, bring models that the host file declares to their host ahead of `llmhost up`, which then has\n" +
			"nothing to send. Until then they are in the folder of models under names of their own, and no server\n" +
			"sees them; `llmhost model gc` removes these names afterwards.\n\n" +
			"The host's key is checked, and the ssh configuration, known_hosts and ssh-agent are those of ssh\n" +
			"itself. llmhost keeps its agent and what it remembers of digests in ~/.local/state/llmhost there.\n\n" +
			"The exit code is 0 when the host has the verified model, 2 if its bytes aren't those of --sha256, 8\n" +
			"after Ctrl-C, and 1 otherwise.",
		Example: "  llmhost model push qwen3-4b-q4_k_m.gguf ssh://alice@desktop/srv/models/\n" +
			"  llmhost model push ./Qwen3-4B ssh://desktop:2222/home/alice/models --identity ~/.ssh/id_desktop\n" +
			"  llmhost model push -s desktop qwen3-4b",
		Args: func(_ *cobra.Command, args []string) error {
			switch address := len(args) > 0 && isAddress(args[len(args)-1]); {
			case c.stack != "" && address:
				return errors.New("name either a host with -s or an address, not both")
			case c.stack != "" && len(args) == 0:
				return errors.New("which models? Name them as the host file does")
			case c.stack != "" && (c.name != "" || c.sha256 != "" || c.mkdir || c.whole):
				return errors.New("with -s, the host file says what a model is called, where it goes and what its digest is")
			case c.stack != "":
				return nil
			}
			if len(args) != 2 {
				return errors.New("name a model and where it is to go: `llmhost model push MODEL ssh://[user@]host[:port]/FOLDER/`")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.stack != "" {
				return c.pushAhead(cmd, args)
			}
			result, err := c.push(cmd, args[0], args[1])
			if err != nil {
				return err
			}
			if c.asJSON {
				return encodeJSON(cmd.OutOrStdout(), result)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), result.summary())
			_, err = fmt.Fprintln(cmd.OutOrStdout(), sumLine(result.SHA256, result.Path))
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&c.stack, "stack", "s", "", "the host whose file declares the models")
	c.login.addFlags(cmd)
	f.StringVar(&c.sha256, "sha256", "", "the digest that the model must have; it is then sent without being read before")
	f.StringVar(&c.name, "name", "", "the model's name there (default: its name here)")
	f.BoolVar(&c.mkdir, "mkdir", false, "make the folder if it isn't there")
	f.StringVar(&c.hub, "hub", "", "address of the hub that hf:// stands for (default "+source.DefaultHub+")")
	f.BoolVar(&c.whole, "no-delta", false, "send all of the model, even if the host has an older version of it")
	f.BoolVar(&c.asJSON, "json", false, "as JSON: host, path, folder, sha256, size, files, changed, sent, found, seconds; with -s an array of these")
	return cmd
}

// errWrongDigest is for bytes that aren't the pinned ones.
func errWrongDigest(format string, args ...any) error {
	return &ExitError{Code: 2, Err: fmt.Errorf(format, args...)}
}

func (c *modelPush) push(cmd *cobra.Command, model, to string) (*pushed, error) {
	at, err := parseAddress(to)
	if err != nil {
		return nil, err
	}
	pin, err := digestFlag(c.sha256)
	if err != nil {
		return nil, err
	}
	ctx, stop := untilInterrupted(cmd)
	defer stop()
	src, name, folder, err := c.openModel(ctx, cmd, model)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if c.name != "" {
		name = c.name
	}
	if err := validModelName(name); err != nil {
		return nil, err
	}
	p := &pushRun{
		cmd: cmd, src: src, view: progressView(cmd, c.asJSON), label: name, whole: c.whole,
		header: &agentpb.ModelHeader{Path: path.Join(at.Path, name), Folder: folder, Sha256: pin, Mode: 0o644},
	}
	if known := knownDigest(src, folder); known != "" {
		if pin != "" && pin != known {
			return nil, errWrongDigest("%s has the SHA-256 %s, and --sha256 says %s: nothing was sent", model, known, pin)
		}
		p.header.Sha256 = known
	}

	started := time.Now()
	result, err := p.run(ctx, func(ctx context.Context) (*remote.Conn, error) {
		conn, err := c.login.dial(ctx, cmd, at)
		if err == nil {
			if err = c.folderIsThere(ctx, conn, at); err != nil {
				conn.Close()
			}
		}
		return conn, err
	})
	if err != nil {
		return nil, forOrdinaryUser(err, at.User)
	}
	return newPushed(at.Address, p.header, result, time.Since(started)), nil
}

// pushAhead brings declared models to their host ahead of a deployment.
func (c *modelPush) pushAhead(cmd *cobra.Command, names []string) error {
	ctx, stop := untilInterrupted(cmd)
	defer stop()
	host, models, err := openModels(ctx, cmd, c.stack, c.login, names, false)
	if err != nil {
		return err
	}
	defer host.Close()
	s := staging{host: host, view: progressView(cmd, c.asJSON)}
	all := []*pushed{}
	for _, d := range models {
		one, err := s.one(ctx, d, source.Options{Token: os.Getenv(tokenVariable), Hub: host.file.Hub, Cache: source.UserCache(), Dial: c.dialSource(cmd)})
		s.view.Clear()
		switch {
		case ctx.Err() != nil:
			return interrupted("what has arrived is kept there, and the same command goes on from it")
		case remote.ReasonOf(err) == agentpb.Reason_DIGEST_MISMATCH:
			return errWrongDigest("%s: %w", d.name, err)
		case err != nil:
			return fmt.Errorf("%s: %w", d.name, err)
		}
		all = append(all, one)
		if !c.asJSON {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", printable(d.name), one.summary())
			fmt.Fprintln(cmd.OutOrStdout(), sumLine(one.SHA256, one.Path))
		}
	}
	if c.asJSON {
		return encodeJSON(cmd.OutOrStdout(), all)
	}
	return nil
}

func (c *modelPush) dialSource(cmd *cobra.Command) source.Dialer {
	return func(ctx context.Context, s modelfile.Source) (source.Host, io.Closer, error) {
		conn, err := c.login.dial(ctx, cmd, s)
		if err != nil {
			return nil, nil, err
		}
		return conn.Agent(), conn, nil
	}
}

// folderIsThere makes sure that the folder which is to hold the model exists: one that was
// misspelt would otherwise be made.
func (c *modelPush) folderIsThere(ctx context.Context, conn *remote.Conn, at modelfile.Source) error {
	is, err := conn.Agent().ObservePath(ctx, &agentpb.ObservePathRequest{Path: at.Path, Kind: "Directory"})
	if err != nil {
		return err
	}
	switch {
	case is.GetExists() && is.GetType() != "directory":
		return fmt.Errorf("%s on %s is no folder: name the folder that the model is to go to", at.Path, at.Address)
	case !is.GetExists() && !c.mkdir:
		return fmt.Errorf("%s has no folder %s: correct the path, or have it made with --mkdir", at.Address, at.Path)
	}
	return nil
}

// openModel opens a model: of this machine, or from an address, a hub or another host. Whether one
// of this machine is a file or a folder is decided by what is there.
func (c *modelPush) openModel(ctx context.Context, cmd *cobra.Command, model string) (src transfer.Source, name string, folder bool, err error) {
	options := source.Options{Token: os.Getenv(tokenVariable), Hub: c.hub, Cache: source.UserCache(), Dial: c.dialSource(cmd)}
	_, missing := os.Lstat(model)
	s, err := modelfile.ParseSource(model)
	switch {
	case missing == nil || err == nil && s.Kind == modelfile.Local:
		return openLocal(model, options.Cache)
	case err != nil:
		return nil, "", false, err
	case s.Kind == modelfile.Host:
		return nil, "", false, fmt.Errorf("%s is on the host already: `llmhost model add` declares it where it is", model)
	}
	name, folder = s.Name(), s.Folder
	if shard, ok := s.Shard(); ok {
		name = shard.Prefix
	}
	src, err = source.Open(ctx, s, options)
	return src, name, folder, err
}

func openLocal(model string, cache *source.Cache) (src transfer.Source, name string, folder bool, err error) {
	abs, err := filepath.Abs(model)
	if err != nil {
		return nil, "", false, err
	}
	name = filepath.Base(abs)
	info, err := os.Stat(abs)
	folder = err == nil && info.IsDir()
	if shard, ok := modelfile.ParseShard(name); ok && !folder {
		folder, name = true, shard.Prefix
	}
	src, err = source.Local(abs, folder, cache)
	return src, name, folder, err
}

// validModelName refuses what can't be the name of a model on a host.
func validModelName(name string) error {
	switch {
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%q can't be a model's name: give it one with --name", name)
	case !utf8.ValidString(name):
		return fmt.Errorf("the name %q isn't UTF-8: give the model another one there with --name", name)
	case len(name) > maxModelName:
		return fmt.Errorf("the name %q is %d bytes long, and at most %d can be: give the model a shorter one there with --name", name, len(name), maxModelName)
	}
	return nil
}

// maxModelName leaves room for what an unfinished upload has around the name.
var maxModelName = 255 - (len(transfer.PartName("")))

func digestFlag(text string) (string, error) {
	digest := strings.ToLower(strings.TrimPrefix(text, "sha256:"))
	if digest != "" && (len(digest) != 64 || strings.Trim(digest, "0123456789abcdef") != "") {
		return "", fmt.Errorf("--sha256: %q is no SHA-256, which has 64 hexadecimal digits", text)
	}
	return digest, nil
}

// knownDigest is a source's digest if it is known without reading anything.
func knownDigest(src transfer.Source, folder bool) string {
	var entries []modelfile.Entry
	for _, f := range src.Files() {
		if f.SHA256 == "" {
			return ""
		}
		entries = append(entries, modelfile.Entry{Name: f.Name, SHA256: f.SHA256})
	}
	if folder {
		return modelfile.Digest(entries)
	}
	return entries[0].SHA256
}

// pushRun is one push, over as many connections as it takes.
type pushRun struct {
	cmd    *cobra.Command
	src    transfer.Source
	header *agentpb.ModelHeader
	view   *progress.View
	label  string // for people
	whole  bool   // no delta
}

// run pushes. A connection that is lost on the way is made again as long as each one has brought
// something.
func (p *pushRun) run(ctx context.Context, dial func(context.Context) (*remote.Conn, error)) (transfer.Result, error) {
	for {
		var arrived uint64
		result, err := p.once(ctx, dial, &arrived)
		p.view.Clear()
		switch {
		case err == nil:
			return result, nil
		case ctx.Err() != nil:
			return result, interrupted("what has arrived is kept there, and the same command goes on from it")
		case errors.Is(err, remote.ErrUnreachable) && arrived > 0:
			fmt.Fprintf(p.cmd.ErrOrStderr(), "%v\nconnecting again: what has arrived is kept there\n", err)
		case remote.ReasonOf(err) == agentpb.Reason_DIGEST_MISMATCH:
			return result, &ExitError{Code: 2, Err: err}
		default:
			return result, err
		}
	}
}

// once pushes over one connection. arrived is how much of it that connection has brought.
func (p *pushRun) once(ctx context.Context, dial func(context.Context) (*remote.Conn, error), arrived *uint64) (transfer.Result, error) {
	conn, err := dial(ctx)
	if err != nil {
		return transfer.Result{}, err
	}
	defer conn.Close()
	if there, ok, err := p.already(ctx, conn); err != nil || ok {
		return there, err
	}
	result, err := transfer.Push(ctx, conn, p.header, p.src, transfer.Options{Whole: p.whole, Progress: func(at transfer.Progress) {
		*arrived = at.Sent
		p.view.Show(p.label, at)
	}})
	if err != nil {
		return result, err
	}
	if known, ok := p.src.(source.Remembering); ok {
		for i, f := range result.Files {
			known.Remember(i, f.SHA256)
		}
	}
	return result, nil
}

// already looks whether the host has the model. One of the same size is worth reading ours for.
func (p *pushRun) already(ctx context.Context, conn *remote.Conn) (there transfer.Result, ok bool, err error) {
	size := sizeOfSource(p.src)
	if _, local := p.src.(source.Remembering); p.header.GetSha256() == "" && local {
		is, err := conn.Agent().ObserveModel(ctx, &agentpb.ObserveModelRequest{Path: p.header.GetPath(), Recall: true})
		if err != nil || !is.GetExists() || is.GetSize() != size {
			return there, false, err
		}
		p.header.Sha256, _, err = source.Digest(ctx, p.src, func(at transfer.Progress) { p.view.Show(p.label, at) })
		if err != nil {
			return there, false, err
		}
	}
	if p.header.GetSha256() == "" {
		return there, false, nil
	}
	return alreadyThere(ctx, conn, p.header, size)
}

// alreadyThere looks whether a host has the very bytes of a header with a pin. A host that doesn't
// remember what it has reads it, which is faster than sending it, unless its size says enough.
func alreadyThere(ctx context.Context, conn *remote.Conn, header *agentpb.ModelHeader, size uint64) (transfer.Result, bool, error) {
	no := transfer.Result{}
	is, err := conn.Agent().ObserveModel(ctx, &agentpb.ObserveModelRequest{Path: header.GetPath(), Recall: true})
	if err != nil || !is.GetExists() || is.GetFolder() != header.GetFolder() || is.GetSize() != size || is.GetUnusable() != "" {
		return no, false, err
	}
	if is.GetSha256() == "" {
		if is, err = conn.Agent().ObserveModel(ctx, &agentpb.ObserveModelRequest{Path: header.GetPath()}); err != nil {
			return no, false, err
		}
	}
	if is.GetSha256() != header.GetSha256() {
		return no, false, nil
	}
	there := transfer.Result{SHA256: is.GetSha256(), Found: size, Files: filesOf(is)}
	return there, true, nil
}

func sizeOfSource(src transfer.Source) (size uint64) {
	for _, f := range src.Files() {
		size += f.Size
	}
	return size
}

func newPushed(host string, header *agentpb.ModelHeader, result transfer.Result, took time.Duration) *pushed {
	p := &pushed{
		Host: host, Path: header.GetPath(), Folder: header.GetFolder(), SHA256: result.SHA256, Files: []pushedFile{},
		Changed: result.Changed, Sent: result.Sent, Found: result.Found, Seconds: took.Seconds(),
	}
	for _, f := range result.Files {
		p.Size += f.Size
		p.Files = append(p.Files, pushedFile{f.Name, f.Size, f.SHA256})
	}
	return p
}

// summary is what a push did, in a line.
func (p *pushed) summary() string {
	size := humanize.IBytes(p.Size)
	if !p.Changed {
		return fmt.Sprintf("%s has it already, verified: %s, nothing was sent", p.Host, size)
	}
	text := fmt.Sprintf("%s has it, verified: %s in %s, %s sent", p.Host, size, tookFor(p.Seconds), humanize.IBytes(p.Sent))
	if p.Found > 0 {
		text += ", " + humanize.IBytes(p.Found) + " were there"
	}
	return text
}

// sumLine is a line as sha256sum writes it, so that it can be checked with it.
func sumLine(sha256, name string) string {
	escaped := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(name)
	if escaped != name {
		return `\` + sha256 + "  " + escaped
	}
	return sha256 + "  " + name
}
