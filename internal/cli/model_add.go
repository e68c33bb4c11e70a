package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/modelfile/header"
	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/transfer"
)

type modelAdd struct {
	stack, name, sha256, download string
	companions                    []string // KIND=SOURCE
	retain, allowPickle           bool
	replace, dryRun, asJSON       bool
}

func newModelAddCmd() *cobra.Command {
	var c modelAdd
	cmd := &cobra.Command{
		Use:   "add SOURCE",
		Short: "Write a model into the host file, with its digest",
		Long: "Find out what a model is and its SHA-256, and write a model block into the host file. Comments and\n" +
			"layout stay. Nothing is brought to the host; the next `llmhost up` does that.\n\n" +
			"SOURCE is one of\n" +
			"  ~/models/x.gguf, ../folder             on this machine\n" +
			"  https://HOST/x.gguf                    at an address\n" +
			"  hf://ORG/REPO[@REVISION][/PATH]        on a hub; a branch is written as its commit of now\n" +
			"  ssh://[user@]host[:port]/PATH          on another host\n" +
			"  host:/PATH                             on the host already, where it stays\n" +
			"The name of one shard (x-00001-of-00003.gguf) stands for all of them.\n\n" +
			"The digest is the hub's or the server's where they say one, so that a large repository is pinned in\n" +
			"seconds; otherwise the bytes are read once. Behind the digest it is written where it is from: compare\n" +
			"it with what the publisher says, since a deployment trusts it. A private hub wants HF_TOKEN.\n\n" +
			"The model's headers are checked: a truncated file, or a format that runs code when it is loaded, is\n" +
			"refused.\n\n" +
			"The exit code is 0, 2 if --sha256 says another digest, 8 if you interrupt it, and 1 for every other\n" +
			"failure. Nothing is written then.",
		Example: "  llmhost model add ~/models/qwen3-4b-q4_k_m.gguf -s desktop\n" +
			"  llmhost model add hf://ORG/REPO/model-Q4_K_M.gguf --companion mmproj=hf://ORG/REPO/mmproj-F16.gguf\n" +
			"  llmhost model add host:/data/old.gguf --name old --dry-run",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name one source: a path, https://…, hf://ORG/REPO, ssh://HOST/PATH or host:/PATH")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			added, err := c.add(ctx, cmd, args[0])
			if ctx.Err() != nil {
				return interrupted("nothing was written")
			}
			if err != nil {
				return err
			}
			if c.asJSON {
				return encodeJSON(cmd.OutOrStdout(), added)
			}
			return added.writeText(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&c.stack, "stack", "s", "", "the host whose file is meant")
	f.StringVar(&c.name, "name", "", "the model's name in the host file (default: the source's)")
	f.StringVar(&c.sha256, "sha256", "", "the digest that the publisher says: another one is an error, and where the server says none it is taken unread")
	f.StringArrayVar(&c.companions, "companion", nil, "a companion as `KIND=SOURCE`, where KIND is mmproj, lora or draft; may be repeated")
	f.BoolVar(&c.retain, "retain", false, "keep the model on the host when it is removed from the host file")
	f.StringVar(&c.download, "download", "", "who fetches it from an address or a hub: host or here")
	f.BoolVar(&c.allowPickle, "allow-pickle", false, "accept a format that runs code when it is loaded")
	f.BoolVar(&c.replace, "replace", false, "give a model that the host file has already this source and digest")
	f.BoolVar(&c.dryRun, "dry-run", false, "only show what would be written")
	f.BoolVar(&c.asJSON, "json", false, "as JSON: {host, file, name, changed, written, model, companions, projectors}")
	cmd.MarkFlagsMutuallyExclusive("replace", "retain") // what a block says beside its source stays
	cmd.MarkFlagsMutuallyExclusive("replace", "download")
	return cmd
}

// addedModel is what add found and did.
type addedModel struct {
	Host       string      `json:"host"`
	File       string      `json:"file"`
	Name       string      `json:"name"`
	Changed    bool        `json:"changed"` // the host file's text is, or would be, another one
	Written    bool        `json:"written"` // false also with --dry-run
	Model      addedPart   `json:"model"`
	Companions []addedPart `json:"companions"`
	Projectors []string    `json:"projectors"` // sources beside the model's that may be companions of it

	replaced bool
	served   bool   // a server has it
	block    string // as it would be written; empty if it is there already
	dryRun   bool
}

// addedPart is a model or a companion.
type addedPart struct {
	Name   string `json:"name,omitempty"` // of a companion
	Kind   string `json:"kind,omitempty"` // of a companion
	Source string `json:"source"`
	SHA256 string `json:"sha256"`
	Origin string `json:"origin"` // where the digest is from
	header.Description
}

func (c *modelAdd) add(ctx context.Context, cmd *cobra.Command, typed string) (*addedModel, error) {
	file, err := hostFile(c.stack)
	if err != nil {
		return nil, err
	}
	h, diags := hostfile.LoadUnpinned(file)
	if err := hostfile.AsError(diags); err != nil {
		return nil, err
	}
	companions, err := c.parseCompanions()
	if err != nil {
		return nil, err
	}
	expected, err := digestFlag(c.sha256)
	if err != nil {
		return nil, err
	}
	look := newLooker(cmd, h)
	defer look.close()
	s, err := c.parse(ctx, look, typed)
	if err != nil {
		return nil, err
	}
	result := &addedModel{Host: h.Name, File: file, Name: cmp.Or(c.name, nameFor(s)), Companions: []addedPart{}, Projectors: []string{}, dryRun: c.dryRun}
	if result.Name == "" {
		return nil, fmt.Errorf("%s has no name that a model may have: name it with --name", typed)
	}
	if result.replaced = h.Model(result.Name) != nil; result.replaced && !c.replace {
		return nil, fmt.Errorf("%s has a model %q already: give it this source with --replace, or choose another name with --name", file, result.Name)
	}
	if m := h.Model(result.Name); m != nil {
		c.allowPickle = c.allowPickle || m.AllowPickle
	}
	result.served = slices.ContainsFunc(h.Servers, func(s hostfile.Server) bool { return s.Model == result.Name })
	if result.Model, err = c.inspect(ctx, look, s, header.Model, expected); err != nil {
		var several *severalError
		if errors.As(err, &several) {
			several.typed = strings.TrimRight(typed, "/")
		}
		return nil, err
	}
	if !slices.ContainsFunc(companions, func(a companionArg) bool { return a.kind == hostfile.MMProj }) {
		result.Projectors = look.projectors(ctx, s, typed)
	}
	if expected != "" && expected != result.Model.SHA256 {
		return nil, errWrongDigest("%s has the SHA-256 %s (%s), and --sha256 says %s: it is another model, and nothing was written",
			s.Text, result.Model.SHA256, result.Model.Origin, expected)
	}
	for _, companion := range companions {
		part, err := c.addCompanion(ctx, look, companion)
		if err != nil {
			return nil, fmt.Errorf("companion %s: %w", companion.kind, err)
		}
		result.Companions = append(result.Companions, part)
	}
	return result, c.write(h, result)
}

// parse reads what was typed as a source of the host file.
func (c *modelAdd) parse(ctx context.Context, look *looker, typed string) (modelfile.Source, error) {
	text, branch := typed, ""
	if match := unpinnedHub.FindStringSubmatch(typed); match != nil {
		text, branch = match[1]+"@main"+match[2], "main"
	}
	s, err := modelfile.ParseSource(text)
	if err != nil {
		return s, err
	}
	if s, err = written(s, typed, look.host.File); err != nil {
		return s, err
	}
	if s.Kind == modelfile.Hub && !s.Immutable() {
		branch = s.Revision
		if s, err = source.AtCommit(ctx, s, look.options()); err != nil {
			return s, err
		}
		fmt.Fprintf(look.cmd.ErrOrStderr(), "%s of %s is commit %s now\n", branch, s.Repository, s.Revision)
	}
	return s, nil
}

// unpinnedHub is a repository without a revision, which means its main branch.
var unpinnedHub = regexp.MustCompile(`^(hf://[^/@]+/[^/@]+)(/[^@]*)?$`)

// inspect checks a source's headers and finds out its digest, which is the expected one where nobody says it.
func (c *modelAdd) inspect(ctx context.Context, look *looker, s modelfile.Source, role header.Role, expected string) (addedPart, error) {
	src, err := look.open(ctx, s)
	if err != nil {
		return addedPart{}, err
	}
	defer src.Close()
	if choices := modelsIn(s, src.Files()); len(choices) > 0 {
		return addedPart{}, &severalError{choices: choices}
	}
	part := addedPart{Source: s.Text}
	if part.Description, err = header.Check(ctx, src, header.Options{Role: role, AllowPickle: c.allowPickle}); err != nil {
		return part, fmt.Errorf("%s: %w", s.Text, err)
	}
	part.SHA256, part.Origin, err = look.digest(ctx, s, src, expected)
	return part, err
}

// severalError says which GGUF models are in a folder, of which a server is started with one.
type severalError struct {
	typed   string
	choices []transfer.File
}

func (e *severalError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is a folder of GGUF models: name the one that you want", e.typed)
	for _, c := range e.choices {
		fmt.Fprintf(&b, "\n  %s/%s  %s", e.typed, c.Name, humanize.IBytes(c.Size))
	}
	return b.String()
}

// modelsIn lists the GGUF models in a folder that isn't a model as a whole; those in shards by
// their first, with the size of all.
func modelsIn(s modelfile.Source, files []transfer.File) []transfer.File {
	if _, shard := s.Shard(); shard || !s.Folder {
		return nil
	}
	var models []transfer.File
	sets := map[string]int{} // of first shards, in models
	for _, f := range files {
		name := path.Base(f.Name)
		shard, isShard := modelfile.ParseShard(name)
		switch {
		case path.Ext(name) == ".safetensors":
			return nil
		case path.Ext(name) != ".gguf" || isProjector(name):
			continue
		case isShard:
			key := path.Join(path.Dir(f.Name), shard.First().Name())
			if i, ok := sets[key]; ok {
				models[i].Size += f.Size
				continue
			}
			sets[key] = len(models)
		}
		models = append(models, f)
	}
	return models
}

// isProjector reports whether a file's name is that of a projector, by the custom of hubs.
func isProjector(name string) bool {
	return strings.HasPrefix(strings.ToLower(name), "mmproj") && path.Ext(name) == ".gguf"
}

type companionArg struct{ kind, name, source string }

func (c *modelAdd) parseCompanions() ([]companionArg, error) {
	var all []companionArg
	taken := map[string]int{}
	for _, arg := range c.companions {
		kind, text, ok := strings.Cut(arg, "=")
		if !ok || text == "" || !slices.Contains([]string{hostfile.MMProj, hostfile.LoRA, hostfile.Draft}, kind) {
			return nil, fmt.Errorf("--companion %s: write KIND=SOURCE, where KIND is mmproj, lora or draft", arg)
		}
		name := kind
		if taken[kind]++; taken[kind] > 1 {
			name = fmt.Sprintf("%s-%d", kind, taken[kind])
		}
		all = append(all, companionArg{kind, name, text})
	}
	return all, nil
}

func (c *modelAdd) addCompanion(ctx context.Context, look *looker, arg companionArg) (addedPart, error) {
	s, err := c.parse(ctx, look, arg.source)
	if err != nil {
		return addedPart{}, err
	}
	if s.Folder {
		return addedPart{}, fmt.Errorf("%s isn't one GGUF file: a companion is one file whose name ends in .gguf", s.Text)
	}
	part, err := c.inspect(ctx, look, s, header.Role(arg.kind), "")
	part.Name, part.Kind = arg.name, arg.kind
	return part, err
}

// write makes the changes in the host file, or only works them out.
func (c *modelAdd) write(h *hostfile.Host, result *addedModel) error {
	changes := c.changes(h, result)
	var err error
	if _, result.Changed, err = hostfile.Preview(h.File, changes...); err != nil || c.dryRun {
		return err
	}
	result.Written, err = hostfile.Rewrite(h.File, changes...)
	return err
}

func (c *modelAdd) changes(h *hostfile.Host, result *addedModel) []hostfile.Change {
	var companions []hostfile.NewCompanion
	for _, p := range result.Companions {
		companions = append(companions, hostfile.NewCompanion{Model: result.Name, Name: p.Name, Kind: p.Kind, Source: p.Source, SHA256: p.SHA256, Origin: p.Origin, Shape: shapeOf(p.Description)})
	}
	if !result.replaced {
		m := hostfile.NewModel{
			Name: result.Name, Source: result.Model.Source, SHA256: result.Model.SHA256, Origin: result.Model.Origin,
			Retain: c.retain, Download: c.download, AllowPickle: c.allowPickle,
			Shape: shapeOf(result.Model.Description), Companions: companions,
		}
		result.block = m.String()
		return []hostfile.Change{m}
	}
	changes := replaced("model", result.Name, result.Model)
	model := h.Model(result.Name)
	for i, p := range result.Companions {
		there := slices.ContainsFunc(model.Companions, func(c hostfile.Companion) bool { return c.Name == p.Name })
		if !there {
			changes = append(changes, companions[i])
			continue
		}
		changes = append(changes, replaced("companion", result.Name+"/"+p.Name, p)...)
	}
	return changes
}

// replaced are the changes that give a block another source.
func replaced(block, name string, p addedPart) []hostfile.Change {
	changes := []hostfile.Change{
		hostfile.Edit{Block: block, Name: name, Attribute: "source", Value: p.Source},
		hostfile.Edit{Block: block, Name: name, Attribute: "sha256", Value: p.SHA256},
		hostfile.Origin{Block: block, Name: name, Text: p.Origin},
	}
	if shape := shapeOf(p.Description); shape != nil {
		changes = append(changes, hostfile.NewShape{Block: block, Name: name, Shape: *shape})
	}
	return changes
}

var unusual = regexp.MustCompile(`[^a-z0-9._-]+`)

// nameFor makes a model's name of its source's; empty if nothing of it can be one.
func nameFor(s modelfile.Source) string {
	name := s.Name()
	if shard, ok := s.Shard(); ok {
		name = shard.Prefix
	}
	name = strings.ToLower(strings.TrimSuffix(name, ".gguf"))
	return strings.Trim(unusual.ReplaceAllString(name, "-"), "._-")
}

func (m *addedModel) writeText(w io.Writer) error {
	var b strings.Builder
	m.Model.describe(&b, m.Name)
	for _, c := range m.Companions {
		c.describe(&b, m.Name+"/"+c.Name)
	}
	if len(m.Projectors) > 0 && !m.replaced {
		fmt.Fprintf(&b, "  for images or sound, add one of these as --companion mmproj=SOURCE: %s\n", strings.Join(m.Projectors, ", "))
	}
	verb := map[bool]string{true: "model %q has another source and digest", false: "model %q is added"}[m.replaced]
	switch {
	case !m.Changed:
		fmt.Fprintf(&b, "%s: model %q is as it should be\n", m.File, m.Name)
	case m.dryRun && m.block != "":
		fmt.Fprintf(&b, "%s would have\n\n%s", m.File, m.block)
	case m.dryRun:
		fmt.Fprintf(&b, "%s would be changed\n", m.File)
	default:
		fmt.Fprintf(&b, "%s: "+verb+"\n", m.File, m.Name)
		if !m.served {
			fmt.Fprintf(&b, "next: give it a server block (model = %q), and look at what `llmhost preview -s %s` says\n", m.Name, m.Host)
		} else {
			fmt.Fprintf(&b, "next: `llmhost preview -s %s`\n", m.Host)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// describe writes what a model is in two lines.
func (p *addedPart) describe(b *strings.Builder, name string) {
	words := []string{p.Format}
	for _, word := range []string{p.Architecture, p.Quantization} {
		if word != "" {
			words = append(words, word)
		}
	}
	if p.Parameters > 0 {
		words = append(words, parameters(p.Parameters)+" parameters")
	}
	if p.Context > 0 {
		words = append(words, fmt.Sprintf("%d tokens of context", p.Context))
	}
	size := humanize.IBytes(p.Size)
	if p.Files > 1 {
		size += fmt.Sprintf(" in %d files", p.Files)
	}
	fmt.Fprintf(b, "%s: %s\n", name, strings.Join(append(words, size), ", "))
	fmt.Fprintf(b, "  sha256 %s, %s\n", p.SHA256, p.Origin)
	for _, warning := range p.Warnings {
		fmt.Fprintf(b, "  warning: %s\n", warning)
	}
}

// parameters is a count as models are named by it: 70.6B, 494M.
func parameters(n uint64) string {
	for _, unit := range []struct {
		size   float64
		suffix string
	}{{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "k"}} {
		if v := float64(n) / unit.size; v >= 1 {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + unit.suffix
		}
	}
	return fmt.Sprint(n)
}
