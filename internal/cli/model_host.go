package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/cmdutil"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/progress"
	"github.com/llmhost/llmhost/internal/provider"
	"github.com/llmhost/llmhost/internal/remote"
)

// modelHost is the host whose models a verb is about: that of a stack, or one that an address
// names. On the latter llmhost is an ordinary program of the user who logs in, and needs neither
// a project nor sudo.
type modelHost struct {
	*remote.Conn
	name   string         // for people
	file   *hostfile.Host // nil: an address named it
	stack  string         // as claims name it; empty: an address named it
	folder string         // that models are in

	deployed map[string]bool // paths that the stack's state says are models
}

// login is how to log in to a host that an address names.
type login struct{ identity, knownHosts string }

func (l *login) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.identity, "identity", "", "private key to log in to an ssh:// address with (default: ssh-agent and the ssh configuration)")
	cmd.Flags().StringVar(&l.knownHosts, "known-hosts", "", "known_hosts file for an ssh:// address (default: that of the ssh configuration)")
}

const addressScheme = "ssh://"

func isAddress(arg string) bool { return strings.HasPrefix(arg, addressScheme) }

// parseAddress reads the address of a folder or a file on a host.
func parseAddress(text string) (modelfile.Source, error) {
	// A folder may be written with a slash at its end.
	s, err := modelfile.ParseSource(strings.TrimRight(text, "/"))
	if err == nil && s.Kind != modelfile.SSH {
		err = fmt.Errorf("%q is no address of a host: write ssh://[user@]host[:port]/absolute/path", text)
	}
	return s, err
}

// dial connects to the host that an address names.
func (l login) dial(ctx context.Context, cmd *cobra.Command, at modelfile.Source) (*remote.Conn, error) {
	options := connection(cmd)
	options.Unprivileged = true
	conn, err := remote.Dial(ctx, remote.Target{
		Address: at.Address, Port: at.Port, User: at.User, Identity: l.identity, KnownHosts: l.knownHosts,
	}, options)
	var said *remote.Error
	if errors.As(err, &said) { // its hint may be about a host file, which there is none of
		switch {
		case said.Metadata["host_key"] != "" && said.Metadata["expected"] == "":
			said.Hint = fmt.Sprintf("compare that on the machine's own console with `ssh-keygen -lf` and a file of /etc/ssh/ssh_host_*_key.pub; "+
				"if it is the same, log in once with `ssh`, or add it to %s", cmp.Or(l.knownHosts, "known_hosts"))
		case errors.Is(err, remote.ErrAuth) && strings.Contains(said.Hint, "host file"):
			said.Hint = "name the user in the address and a key with --identity, or put your public key into the user's authorized_keys there"
		}
	}
	return conn, err
}

// forOrdinaryUser is an error of an agent that isn't meant to be root.
func forOrdinaryUser(err error, user string) error {
	var said *remote.Error
	if !errors.As(err, &said) {
		return err
	}
	switch said.Reason {
	case agentpb.Reason_PERMISSION:
		said.Hint = "let " + cmp.Or(user, "the user who logs in") + " write there, or log in as another user"
	case agentpb.Reason_DIGEST_MISMATCH:
		said.Hint = "is --sha256 that of the file?"
	}
	return err
}

// openAddress opens the host of an address; its path is the folder.
func (l login) openAddress(ctx context.Context, cmd *cobra.Command, at modelfile.Source) (*modelHost, error) {
	conn, err := l.dial(ctx, cmd, at)
	if err != nil {
		return nil, err
	}
	return &modelHost{Conn: conn, name: at.Address, folder: at.Path}, nil
}

// openStack opens the host of a stack. With state set, the stack must have been deployed, and
// what its state uses is read.
func openStack(ctx context.Context, cmd *cobra.Command, named string, state bool) (*modelHost, error) {
	var deployed map[string]bool
	var project string
	if state {
		s, err := open(cmd, named)
		if err != nil {
			return nil, err
		}
		if named, err = s.stack(ctx, named); err != nil {
			return nil, err
		}
		if err := s.exists(cmd, named, false); err != nil {
			return nil, err
		}
		resources, err := s.engine.Deployed(ctx, named)
		if err != nil {
			return nil, s.environment.WrongKey(err)
		}
		project, deployed = s.engine.ProjectName(), map[string]bool{}
		for _, r := range resources {
			if r.Type == provider.Name+":index:Model" {
				deployed[r.ID] = true
			}
		}
	}
	h, err := loadHost(path.Base(named))
	if named == "" {
		h, err = loadHost("")
	}
	if err != nil {
		return nil, err
	}
	conn, err := remote.Dial(ctx, targetOf(h), connection(cmd))
	if err != nil {
		return nil, err
	}
	m := &modelHost{Conn: conn, name: h.Name, file: h, folder: h.ModelsPath, deployed: deployed}
	if state {
		m.stack = project + "/" + path.Base(named)
	}
	return m, nil
}

// declaredModel is a model, or a companion of one, that a host file declares.
type declaredModel struct {
	name   string // NAME, or NAME/COMPANION
	path   string // on the host
	sha256 string
	folder bool
	source modelfile.Source
	model  *hostfile.Model
}

// declared lists what a host file declares.
func declared(h *hostfile.Host) []declaredModel {
	if h == nil {
		return nil
	}
	var all []declaredModel
	for i := range h.Models {
		m := &h.Models[i]
		all = append(all, declaredModel{m.Name, h.ModelFile(m), m.SHA256, m.Source.Folder, m.Source, m})
		for j := range m.Companions {
			c := &m.Companions[j]
			all = append(all, declaredModel{m.Name + "/" + c.Name, h.CompanionFile(m, c), c.SHA256, false, c.Source, m})
		}
	}
	return all
}

// selectModels picks models by their declared names, or by their absolute paths on the host. Of a
// path that isn't declared nothing more is known.
func selectModels(h *hostfile.Host, args []string) ([]declaredModel, error) {
	all := declared(h)
	var there []string
	for _, d := range all {
		there = append(there, d.name)
	}
	var picked []declaredModel
	for _, arg := range args {
		at := ""
		if strings.HasPrefix(arg, "/") {
			at = path.Clean(arg)
		}
		i := slices.IndexFunc(all, func(d declaredModel) bool { return d.name == arg || d.path == at })
		switch {
		case i >= 0:
			picked = append(picked, all[i])
		case at != "":
			picked = append(picked, declaredModel{name: at, path: at})
		case len(there) == 0:
			return nil, fmt.Errorf("%s declares no model; name one by its absolute path on the host", h.File)
		default:
			return nil, fmt.Errorf("%s declares no model %q; it has %s", h.File, arg, strings.Join(there, ", "))
		}
	}
	return picked, nil
}

// progressView is how a verb shows its progress: on standard error, and not for machines.
func progressView(cmd *cobra.Command, asJSON bool) *progress.View {
	if asJSON {
		return nil
	}
	return progress.New(cmd.ErrOrStderr(), cmdutil.GetGlobalColorization() != colors.Never)
}

// interrupted is the end of a verb whose user has pressed Ctrl-C.
func interrupted(what string) error {
	return &ExitError{Code: 8, Err: errors.New("interrupted: " + what)}
}

func tookFor(seconds float64) string {
	if seconds < 10 {
		return fmt.Sprintf("%.1f s", seconds)
	}
	return progress.Duration(time.Duration(seconds * float64(time.Second)))
}

// writeTo ends a verb that has nothing more to say than JSON or a text.
func writeTo(w io.Writer, asJSON bool, v any, text func(io.Writer) error) error {
	if asJSON {
		return encodeJSON(w, v)
	}
	return text(w)
}
