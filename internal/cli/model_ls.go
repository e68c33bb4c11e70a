package cli

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// The states of a model on a host.
const (
	modelOK       = "ok"       // nothing has touched it since its bytes were found to be right
	modelUnknown  = "unknown"  // nobody has read it since something touched it
	modelDiffers  = "differs"  // its bytes aren't the declared ones
	modelFailed   = "failed"   // it failed its last verification
	modelMissing  = "missing"  // declared, and not there
	modelPartial  = "partial"  // an upload that hasn't ended
	modelUnusable = "unusable" // no model's file or folder
)

// listedModel is a model on a host, or one that should be there.
type listedModel struct {
	Name       string     `json:"name"` // as declared, else that of the file or folder
	Path       string     `json:"path"`
	Declared   bool       `json:"declared"` // by the host file
	Deployed   bool       `json:"deployed"` // in the stack's state
	State      string     `json:"state"`
	Reason     string     `json:"reason,omitempty"`
	Size       uint64     `json:"size"`
	Disk       uint64     `json:"disk"`             // bytes that its removal would set free
	SHA256     string     `json:"sha256,omitempty"` // absent when nobody has read it
	Verity     bool       `json:"verity"`           // fs-verity protects it
	VerifiedAt *time.Time `json:"verifiedAt,omitempty"`
	ChangedAt  *time.Time `json:"changedAt,omitempty"`
	UsedBy     []string   `json:"usedBy"`
	SameAs     []string   `json:"sameAs"` // paths that share its bytes

	placed bool // llmhost has put it there
}

// modelList is what a host has.
type modelList struct {
	Host   string        `json:"host"`
	Folder string        `json:"folder"`
	Models []listedModel `json:"models"`
}

func newModelListCmd() *cobra.Command {
	var stack string
	var l login
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls [ssh://[user@]host[:port]/FOLDER/]",
		Short: "List the models on a host",
		Long: "List the models of a host: what its host file declares, what else is in its folder of models, and\n" +
			"uploads that haven't ended. No model is read for it. With an address, list a folder of any host.\n\n" +
			"A model's state is\n\n" +
			"  ok        nothing has touched it since its bytes were found to be the right ones\n" +
			"  unknown   it was touched, or nobody has ever read it: `llmhost model verify` finds out\n" +
			"  differs   its bytes aren't those that the host file declares\n" +
			"  failed    the last verification found other bytes than there should be\n" +
			"  missing   it is declared, and isn't there\n" +
			"  partial   an upload that hasn't ended; the next push of the model goes on with it\n" +
			"  unusable  it is no ordinary file or folder, or can't be read",
		Example: "  llmhost model ls -s desktop\n  llmhost model ls ssh://alice@desktop/srv/models",
		Args:    oneAddress(&stack),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			m, err := openEither(ctx, cmd, stack, l, args, false)
			if err != nil {
				return err
			}
			defer m.Close()
			list, err := m.list(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), list)
			}
			return list.writeText(cmd.OutOrStdout(), time.Now())
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host to look at")
	l.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: host, folder, models")
	return cmd
}

// oneAddress lets a verb be about a stack, or about the host of one address.
func oneAddress(stack *string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return nil
		case len(args) == 1 && isAddress(args[0]) && *stack == "":
			return nil
		case len(args) == 1 && isAddress(args[0]):
			return fmt.Errorf("name either a host with -s or an address, not both")
		case isAddress(args[0]):
			return fmt.Errorf("%s takes one address", cmd.CommandPath())
		}
		return noArguments(cmd, args)
	}
}

// openEither opens the host of an address, and else that of a stack. With state set, what the
// stack's state uses is read.
func openEither(ctx context.Context, cmd *cobra.Command, stack string, l login, args []string, state bool) (*modelHost, error) {
	if len(args) == 0 {
		return openStack(ctx, cmd, stack, state)
	}
	at, err := parseAddress(args[0])
	if err != nil {
		return nil, err
	}
	return l.openAddress(ctx, cmd, at)
}

// list asks the host for its models and puts the declared ones first.
func (m *modelHost) list(ctx context.Context) (*modelList, error) {
	there, err := m.Agent().ListModels(ctx, &agentpb.ListModelsRequest{Folders: []string{m.folder}})
	if err != nil {
		return nil, err
	}
	list := &modelList{Host: m.name, Folder: m.folder, Models: []listedModel{}}
	found := map[string]*agentpb.ListedModel{}
	for _, one := range there.GetModels() {
		found[one.GetPath()] = one
	}
	for _, d := range declared(m.file) {
		one := found[d.path]
		delete(found, d.path)
		if one == nil {
			// What the list leaves out, such as an adopted folder elsewhere, may be there all the same.
			state, err := m.Agent().ObserveModel(ctx, &agentpb.ObserveModelRequest{Path: d.path, Recall: true})
			if err != nil {
				return nil, err
			}
			if state.GetExists() {
				one = &agentpb.ListedModel{Path: d.path, State: state}
			}
		}
		entry := listedModel{Name: d.name, Path: d.path, State: modelMissing, UsedBy: []string{}, SameAs: []string{}}
		if one != nil {
			entry = newListed(one, d.sha256)
			entry.Name = d.name
		}
		entry.Declared, entry.Deployed = true, m.deployed[d.path]
		list.Models = append(list.Models, entry)
	}
	for _, one := range there.GetModels() {
		if found[one.GetPath()] == nil {
			continue
		}
		entry := newListed(one, "")
		entry.Deployed = m.deployed[one.GetPath()]
		list.Models = append(list.Models, entry)
	}
	return list, nil
}

// newListed is a model as the host shows it; want is its declared digest, if it has one.
func newListed(one *agentpb.ListedModel, want string) listedModel {
	state := one.GetState()
	entry := listedModel{
		Name: path.Base(one.GetPath()), Path: one.GetPath(), Size: state.GetSize(), Disk: one.GetDiskBytes(),
		SHA256: state.GetSha256(), Verity: state.GetVerity(), placed: one.GetPlaced(),
		UsedBy: append([]string{}, one.GetUsedBy()...), SameAs: append([]string{}, one.GetSameAs()...),
		VerifiedAt: moment(state.GetVerifiedUnix()), ChangedAt: moment(one.GetChangedUnix()),
	}
	switch {
	case one.GetPartial():
		entry.State = modelPartial
		entry.Name = partialName(entry.Name)
		if total := state.GetSize(); total > 0 {
			entry.Reason = fmt.Sprintf("%d %% has arrived", one.GetArrivedBytes()*100/total)
		}
	case state.GetUnusable() != "":
		entry.State, entry.Reason = modelUnusable, state.GetUnusable()
	case state.GetVerifyFailure() != "":
		entry.State, entry.Reason = modelFailed, state.GetVerifyFailure()
	case state.GetSha256() == "":
		entry.State = modelUnknown
	case want != "" && state.GetSha256() != want:
		entry.State, entry.Reason = modelDiffers, "the host file says "+want
	default:
		entry.State = modelOK
	}
	return entry
}

// partialName is the name of the model that an upload's hidden folder is for.
func partialName(hidden string) string {
	return strings.TrimSuffix(strings.TrimPrefix(hidden, "."), ".llmhost-part")
}

func moment(unix int64) *time.Time {
	if unix == 0 {
		return nil
	}
	t := time.Unix(unix, 0).UTC()
	return &t
}

func (l *modelList) writeText(w io.Writer, now time.Time) error {
	if len(l.Models) == 0 {
		_, err := fmt.Fprintf(w, "%s has no models in %s.\n", l.Host, l.Folder)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MODEL\tSIZE\tSHA-256\tSTATE\tVERITY\tVERIFIED\tUSED BY\tDECLARED")
	for _, m := range l.Models {
		name := m.Name
		if path.Dir(m.Path) != l.Folder {
			name = m.Path
			if m.Declared {
				name = m.Name + " (" + m.Path + ")"
			}
		}
		verified := "-"
		if m.VerifiedAt != nil {
			verified = humanize.RelTime(*m.VerifiedAt, now, "ago", "from now")
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(name), sizeOf(m), short(m.SHA256), m.State,
			yesOrDash(m.Verity), verified, orDash(strings.Join(m.UsedBy, ", ")), yesOrDash(m.Declared))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, m := range l.Models {
		if m.Reason != "" {
			if _, err := fmt.Fprintf(w, "%s: %s\n", printable(m.Name), m.Reason); err != nil {
				return err
			}
		}
	}
	return nil
}

func sizeOf(m listedModel) string {
	if m.State == modelMissing {
		return "-"
	}
	return humanize.IBytes(m.Size)
}

// short is the beginning of a digest, enough for people to tell two models apart.
func short(sha256 string) string {
	if len(sha256) < 12 {
		return "-"
	}
	return sha256[:12]
}

func yesOrDash(yes bool) string {
	if yes {
		return "yes"
	}
	return "-"
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// printable keeps a name from being more than a name on a terminal.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, name)
}

// find is the model at a path, or nil.
func (l *modelList) find(at string) *listedModel {
	i := slices.IndexFunc(l.Models, func(m listedModel) bool { return m.Path == at })
	if i < 0 {
		return nil
	}
	return &l.Models[i]
}
