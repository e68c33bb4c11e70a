package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/progress"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/transfer"
)

// backedUp is what became of one model.
type backedUp struct {
	Name    string  `json:"name"`
	Path    string  `json:"path"`   // on the host
	Backup  string  `json:"backup"` // its copy
	SHA256  string  `json:"sha256"`
	Size    uint64  `json:"size"`
	Changed bool    `json:"changed"` // false: there already
	Sent    uint64  `json:"sent"`    // bytes
	Seconds float64 `json:"seconds"`
}

// backups is what a backup or a restore did.
type backups struct {
	Host   string     `json:"host"`
	At     string     `json:"at"` // where the copies are
	Models []backedUp `json:"models"`
}

// manifestSuffix is how the name of what says a copy's digests ends.
const manifestSuffix = ".sha256"

func newModelBackupCmd() *cobra.Command {
	var stack string
	var l login
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "backup (MODEL… | --all) DESTINATION",
		Short: "Copy models of a host to another place, verified",
		Long: "Copy models of a host to a folder of this machine, to another host (ssh://[user@]host[:port]/FOLDER), or\n" +
			"to another folder of the same host (host:/FOLDER, such as a mounted disk). A MODEL is NAME or\n" +
			"NAME/COMPANION as in the host file.\n\n" +
			"A copy's name ends in the beginning of its digest, so that a new version of a model never replaces the\n" +
			"copy of the old one. It has that name only when it is whole and was verified; beside it a file " + manifestSuffix + "\n" +
			"says its digests in sha256sum's format. What is there already isn't copied again, and an interrupted\n" +
			"backup goes on where it stopped.\n\n" +
			"The exit code is 0 when all have their copies, 2 if a model isn't what the host file says and so has\n" +
			"none, 8 after Ctrl-C, and 1 otherwise.",
		Example: "  llmhost model backup -s desktop --all /mnt/disk/models\n" +
			"  llmhost model backup -s desktop qwen3-4b ssh://alice@nas/volume1/models\n" +
			"  cd /mnt/disk/models && sha256sum -c *.gguf" + manifestSuffix,
		Args: modelsAndPlace(&all, "where do the copies go?"),
		RunE: func(cmd *cobra.Command, args []string) error {
			result, err := runBackup(cmd, stack, l, args, all, asJSON, (*backupRun).backup)
			if err != nil {
				return err
			}
			return writeTo(cmd.OutOrStdout(), asJSON, result, func(w io.Writer) error {
				return result.writeText(w, func(m backedUp) (done, already string) {
					return "copied to " + m.Backup, "has its copy already: " + m.Backup
				})
			})
		},
	}
	backupFlags(cmd, &stack, &l, &all, &asJSON)
	return cmd
}

func newModelRestoreCmd() *cobra.Command {
	var stack string
	var l login
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "restore (MODEL… | --all) PLACE",
		Short: "Bring models back to a host from their copies",
		Long: "Bring models that the host file declares back to the host, from copies that `llmhost model backup` made:\n" +
			"of a folder of this machine, of another host (ssh://…) or of the host itself (host:/FOLDER). The copy\n" +
			"is chosen by the digest that the host file pins, and the host verifies what it gets.\n\n" +
			"The bytes are then on the host, as after `llmhost model push -s`: the next `llmhost up` gives the model its\n" +
			"name, and needs no source for it.\n\n" +
			"The exit code is 0 when the host has all of them, 2 if a copy isn't what the host file pins, 8 after\n" +
			"Ctrl-C, and 1 otherwise.",
		Example: "  llmhost model restore -s desktop qwen3-4b /mnt/disk/models\n  llmhost up -s desktop",
		Args:    modelsAndPlace(&all, "where are the copies?"),
		RunE: func(cmd *cobra.Command, args []string) error {
			result, err := runBackup(cmd, stack, l, args, all, asJSON, (*backupRun).restore)
			if err != nil {
				return err
			}
			return writeTo(cmd.OutOrStdout(), asJSON, result, func(w io.Writer) error {
				return result.writeText(w, func(m backedUp) (done, already string) {
					return "brought back from " + m.Backup, "the host has it already: " + m.Path
				})
			})
		},
	}
	backupFlags(cmd, &stack, &l, &all, &asJSON)
	return cmd
}

func backupFlags(cmd *cobra.Command, stack *string, l *login, all, asJSON *bool) {
	cmd.Flags().StringVarP(stack, "stack", "s", "", "the host")
	cmd.Flags().BoolVar(all, "all", false, "all models that the host file declares")
	l.addFlags(cmd)
	cmd.Flags().BoolVar(asJSON, "json", false, "as JSON: host, at, models")
}

// modelsAndPlace wants models and then a place, or with --all the place alone.
func modelsAndPlace(all *bool, question string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return errors.New("which models, and " + question)
		case *all && len(args) > 1:
			return errors.New("name models or say --all, not both")
		case !*all && len(args) == 1:
			return fmt.Errorf("name both: `%s MODEL… PLACE`, or --all in place of the models", cmd.CommandPath())
		}
		return nil
	}
}

// backupRun copies between a host and the place of copies.
type backupRun struct {
	cmd   *cobra.Command
	login login
	host  *modelHost
	at    modelfile.Source // the place of copies, a folder
	place *remote.Conn     // to whoever has that place
	view  *progress.View
}

func runBackup(cmd *cobra.Command, stack string, l login, args []string, all, asJSON bool, do func(*backupRun, context.Context, declaredModel) (*backedUp, error)) (*backups, error) {
	at, err := parsePlace(args[len(args)-1])
	if err != nil {
		return nil, err
	}
	ctx, stop := untilInterrupted(cmd)
	defer stop()
	host, models, err := openModels(ctx, cmd, stack, l, args[:len(args)-1], all)
	if err != nil {
		return nil, err
	}
	defer host.Close()
	r := &backupRun{cmd: cmd, login: l, host: host, at: at, view: progressView(cmd, asJSON)}
	if err := r.reach(ctx); err != nil {
		return nil, err
	}
	if r.place != host.Conn {
		defer r.place.Close()
	}
	result := &backups{Host: host.name, At: at.Text, Models: []backedUp{}}
	for _, d := range models {
		started := time.Now()
		one, err := do(r, ctx, d)
		r.view.Clear()
		switch {
		case ctx.Err() != nil:
			return nil, interrupted("what was copied is kept, and the same command goes on from it")
		case remote.ReasonOf(err) == agentpb.Reason_DIGEST_MISMATCH:
			return nil, errWrongDigest("%s: %w", d.name, err)
		case err != nil:
			return nil, fmt.Errorf("%s: %w", d.name, err)
		}
		one.Seconds = time.Since(started).Seconds()
		result.Models = append(result.Models, *one)
	}
	return result, nil
}

// parsePlace reads where copies are: a folder of this machine, of the host, or of another one.
func parsePlace(text string) (modelfile.Source, error) {
	trimmed := strings.TrimRight(text, "/")
	at, err := modelfile.ParseSource(trimmed)
	switch {
	case err != nil:
		return at, err
	case at.Kind == modelfile.Local:
		if at.Path, err = filepath.Abs(at.Path); err != nil {
			return at, err
		}
	case at.Kind != modelfile.SSH && at.Kind != modelfile.Host:
		return at, fmt.Errorf("%q is no place for copies: it is a folder of this machine, ssh://[user@]host[:port]/FOLDER or host:/FOLDER", text)
	}
	at.Text = text
	return at, nil
}

// reach connects to whoever has the place of copies. On this machine it is an agent, too, so that
// all copies are made in one way.
func (r *backupRun) reach(ctx context.Context) (err error) {
	switch r.at.Kind {
	case modelfile.Local:
		options := connection(r.cmd)
		options.Unprivileged = true
		r.place, err = remote.Dial(ctx, remote.Target{Local: true}, options)
	case modelfile.SSH:
		r.place, err = r.login.dial(ctx, r.cmd, r.at)
	default:
		r.place = r.host.Conn
	}
	return err
}

// copyOf is where the copy of a model is.
func (r *backupRun) copyOf(d declaredModel) string { return path.Join(r.at.Path, versionName(d)) }

// backup makes the copy of one model.
func (r *backupRun) backup(ctx context.Context, d declaredModel) (*backedUp, error) {
	is, err := r.host.Agent().ObserveModel(ctx, &agentpb.ObserveModelRequest{Path: d.path})
	switch {
	case err != nil:
		return nil, err
	case !is.GetExists():
		return nil, fmt.Errorf("%s isn't on %s", d.path, r.host.name)
	case d.sha256 == "":
		d.sha256, d.folder = is.GetSha256(), is.GetFolder()
	case is.GetSha256() != d.sha256:
		return nil, errWrongDigest("%s has the SHA-256 %s there, and the host file says %s: no copy was made", d.path, is.GetSha256(), d.sha256)
	}
	one := &backedUp{Name: d.name, Path: d.path, Backup: r.copyOf(d), SHA256: d.sha256, Size: is.GetSize()}
	header := &agentpb.ModelHeader{Path: one.Backup, Sha256: d.sha256, Folder: d.folder, Mode: 0o600}
	files := filesOf(is)
	if _, there, err := alreadyThere(ctx, r.place, header, is.GetSize()); err != nil {
		return nil, err
	} else if !there {
		one.Changed = true
		if one.Sent, err = r.copy(ctx, d, is, header); err != nil {
			return nil, err
		}
	}
	// Last, so that where there is a manifest there is a whole copy.
	manifest := newText(manifestOf(one, files))
	header = &agentpb.ModelHeader{Path: one.Backup + manifestSuffix, Sha256: manifest.file.SHA256, Mode: 0o600}
	if _, there, err := alreadyThere(ctx, r.place, header, manifest.file.Size); err != nil || there {
		return one, err
	}
	_, err = transfer.Push(ctx, r.place, header, manifest, transfer.Options{})
	return one, err
}

// copy copies a model of the host to the place of copies. What stays on the host isn't sent here and back.
func (r *backupRun) copy(ctx context.Context, d declaredModel, is *agentpb.ModelState, header *agentpb.ModelHeader) (sent uint64, err error) {
	report := func(at transfer.Progress) { r.view.Show(d.name, at) }
	if r.at.Kind == modelfile.Host {
		files, from := copyOnHost(d.path, is)
		return 0, fetchModel(ctx, r.place, header, files, from, report)
	}
	src, err := r.open(ctx, r.host.Conn, d.path, d.folder)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	result, err := transfer.Push(ctx, r.place, header, src, transfer.Options{Progress: report})
	return result.Sent, err
}

func filesOf(is *agentpb.ModelState) []transfer.File {
	files, _ := copyOnHost("", is)
	return files
}

// restore brings one model's bytes back.
func (r *backupRun) restore(ctx context.Context, d declaredModel) (*backedUp, error) {
	if d.model == nil {
		return nil, errors.New("the host file doesn't declare it, so that nothing says what it should be")
	}
	one := &backedUp{Name: d.name, Backup: r.copyOf(d), SHA256: d.sha256}
	s := staging{host: r.host, view: r.view}
	var err error
	if one.Path, one.Size, err = s.find(ctx, d); err != nil || one.Path != "" {
		return one, err
	}
	is, err := r.place.Agent().ObserveModel(ctx, &agentpb.ObserveModelRequest{Path: one.Backup, Recall: true})
	if err != nil {
		return nil, err
	}
	if !is.GetExists() {
		return nil, fmt.Errorf("%s has no copy of it with the SHA-256 %s, which would be %s", r.at.Text, d.sha256, one.Backup)
	}
	one.Path, one.Size, one.Changed = s.ahead(d), is.GetSize(), true
	if r.at.Kind == modelfile.Host {
		files, from := copyOnHost(one.Backup, is)
		return one, s.fetch(ctx, d, files, from)
	}
	src, err := r.open(ctx, r.place, one.Backup, d.folder)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	result, err := s.push(ctx, d, src)
	one.Sent = result.Sent
	return one, err
}

// copyOnHost is a model on a host as the origin of a copy there.
func copyOnHost(at string, is *agentpb.ModelState) (files []transfer.File, from []*agentpb.ModelOrigin) {
	for _, f := range is.GetFiles() {
		files = append(files, transfer.File{Name: f.GetName(), Size: f.GetSize(), SHA256: f.GetSha256()})
		from = append(from, &agentpb.ModelOrigin{Where: &agentpb.ModelOrigin_Path{Path: path.Join(at, f.GetName())}})
	}
	return files, from
}

// open opens a model on a host that is connected.
func (r *backupRun) open(ctx context.Context, on *remote.Conn, at string, folder bool) (transfer.Source, error) {
	return source.Open(ctx, modelfile.Source{Text: at, Kind: modelfile.SSH, Path: at, Folder: folder}, source.Options{
		Dial: func(context.Context, modelfile.Source) (source.Host, io.Closer, error) {
			return on.Agent(), io.NopCloser(nil), nil // the connection is the run's
		},
	})
}

// manifestOf is what stands beside a copy: for a file its line as sha256sum writes it, and for a
// folder its manifest, whose own digest is the model's.
func manifestOf(one *backedUp, files []transfer.File) string {
	if len(files) == 1 && files[0].Name == "" {
		return sumLine(one.SHA256, path.Base(one.Backup)) + "\n"
	}
	var entries []modelfile.Entry
	for _, f := range files {
		entries = append(entries, modelfile.Entry{Name: f.Name, SHA256: f.SHA256})
	}
	return modelfile.Manifest(entries)
}

// text is a source of a few bytes.
type text struct {
	content string
	file    transfer.File
}

func newText(content string) *text {
	sum := sha256.Sum256([]byte(content))
	return &text{content, transfer.File{Size: uint64(len(content)), SHA256: hex.EncodeToString(sum[:])}}
}

func (t *text) Files() []transfer.File { return []transfer.File{t.file} }
func (t *text) ID() string             { return "text:" + t.file.SHA256 }
func (t *text) Close() error           { return nil }

func (t *text) Open(_ context.Context, _ int, offset uint64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader([]byte(t.content)[offset:])), nil
}

func (b *backups) writeText(w io.Writer, words func(backedUp) (done, already string)) error {
	for _, m := range b.Models {
		done, text := words(m)
		if m.Changed {
			text = fmt.Sprintf("%s: %s in %s, verified", done, humanize.IBytes(m.Size), tookFor(m.Seconds))
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", printable(m.Name), printable(text)); err != nil {
			return err
		}
	}
	return nil
}
