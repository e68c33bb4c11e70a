package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/progress"
	"github.com/llmhost/llmhost/internal/transfer"
)

// verified is what was found out about one model.
type verified struct {
	Name    string  `json:"name"`
	Path    string  `json:"path"`
	OK      bool    `json:"ok"`
	Problem string  `json:"problem,omitempty"`
	SHA256  string  `json:"sha256,omitempty"` // of the bytes that are there
	Want    string  `json:"want,omitempty"`   // what it should be; absent when nothing says so
	Size    uint64  `json:"size"`
	Verity  bool    `json:"verity"`
	Seconds float64 `json:"seconds"`
}

// verification is what was found out about all of them.
type verification struct {
	Host   string     `json:"host"`
	OK     bool       `json:"ok"`
	Models []verified `json:"models"`
}

func newModelVerifyCmd() *cobra.Command {
	var stack string
	var l login
	var all, asJSON bool
	var pin string
	cmd := &cobra.Command{
		Use:   "verify (MODEL… | --all | ssh://[user@]host[:port]/PATH)",
		Short: "Read models on a host again, and compare them with their digests",
		Long: "Have the host read whole models again, whatever it remembers of them, and compare their SHA-256 with\n" +
			"what the host file says. A MODEL is NAME or NAME/COMPANION as in the host file, or an absolute path on\n" +
			"the host. What no host file declares is compared with --sha256.\n\n" +
			"The result is kept on the host: a model that failed is a finding of `llmhost drift` until it was\n" +
			"replaced, or verified again.\n\n" +
			"The exit code is 0 if all are right, 2 if one isn't, 8 after Ctrl-C, and 1 if it could not tell.",
		Example: "  llmhost model verify -s desktop qwen3-4b\n  llmhost model verify -s desktop --all\n" +
			"  llmhost model verify ssh://alice@desktop/srv/models/qwen3-4b-q4_k_m.gguf",
		Args: func(cmd *cobra.Command, args []string) error {
			address := len(args) > 0 && isAddress(args[0])
			switch {
			case all && len(args) > 0:
				return errors.New("name models or say --all, not both")
			case !all && len(args) == 0:
				return errors.New("which model? Name it, or say --all")
			case address && len(args) > 1:
				return errors.New("verify takes one address")
			case address && stack != "":
				return errors.New("name either a host with -s or an address, not both")
			case pin != "" && len(args) != 1:
				return errors.New("--sha256 is for one model")
			}
			var err error
			pin, err = digestFlag(pin)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			m, models, err := openModels(ctx, cmd, stack, l, args, all)
			if err != nil {
				return err
			}
			defer m.Close()
			if pin != "" {
				models[0].sha256 = pin
			}
			result, err := m.verify(ctx, models, progressView(cmd, asJSON))
			if ctx.Err() != nil {
				return interrupted("nothing was changed")
			}
			if err != nil {
				return err
			}
			if err := writeTo(cmd.OutOrStdout(), asJSON, result, result.writeText); err != nil {
				return err
			}
			if !result.OK {
				return &ExitError{Code: 2}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host")
	cmd.Flags().BoolVar(&all, "all", false, "all models that the host file declares")
	cmd.Flags().StringVar(&pin, "sha256", "", "the digest that the one model must have, in place of the host file's")
	l.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: host, ok, models")
	return cmd
}

// openModels opens the host that models are on, and finds the models that arguments name there.
func openModels(ctx context.Context, cmd *cobra.Command, stack string, l login, args []string, all bool) (*modelHost, []declaredModel, error) {
	if len(args) > 0 && isAddress(args[0]) {
		at, err := parseAddress(args[0])
		if err != nil {
			return nil, nil, err
		}
		m, err := l.openAddress(ctx, cmd, at)
		return m, []declaredModel{{name: path.Base(at.Path), path: at.Path}}, err
	}
	h, err := loadHost(stack)
	if err != nil {
		return nil, nil, err
	}
	models := declared(h)
	if !all {
		if models, err = selectModels(h, args); err != nil {
			return nil, nil, err
		}
	}
	if len(models) == 0 {
		return nil, nil, fmt.Errorf("%s declares no model", h.File)
	}
	m, err := openStack(ctx, cmd, stack, false)
	return m, models, err
}

func (m *modelHost) verify(ctx context.Context, models []declaredModel, view *progress.View) (*verification, error) {
	result := &verification{Host: m.name, OK: true, Models: []verified{}}
	for _, d := range models {
		v, err := m.verifyOne(ctx, d, view)
		view.Clear()
		if err != nil {
			return nil, err
		}
		result.OK = result.OK && v.OK
		result.Models = append(result.Models, *v)
	}
	return result, nil
}

func (m *modelHost) verifyOne(ctx context.Context, d declaredModel, view *progress.View) (*verified, error) {
	started := time.Now()
	v := &verified{Name: d.name, Path: d.path, Want: d.sha256}
	stream, err := m.Agent().VerifyModel(ctx, &agentpb.VerifyModelRequest{Path: d.path, Sha256: d.sha256})
	if err != nil {
		return nil, err
	}
	var state *agentpb.ModelState
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if event.GetState() != nil {
			state = event.GetState()
		}
		view.Show(d.name, transfer.Progress{Phase: "verify", Done: event.GetDoneBytes(), Total: event.GetTotalBytes()})
	}
	if state == nil {
		return nil, fmt.Errorf("%s ended the verification of %s without a result", m.name, d.path)
	}
	v.Seconds, v.Size, v.SHA256, v.Verity = time.Since(started).Seconds(), state.GetSize(), state.GetSha256(), state.GetVerity()
	switch {
	case !state.GetExists():
		v.Problem = "it isn't there"
	case state.GetUnusable() != "":
		v.Problem = state.GetUnusable()
	case d.sha256 != "" && state.GetSha256() != d.sha256:
		v.Problem = fmt.Sprintf("its SHA-256 is %s and not %s", state.GetSha256(), d.sha256)
	case state.GetVerifyFailure() != "":
		v.Problem = state.GetVerifyFailure()
	default:
		v.OK = true
	}
	return v, nil
}

func (v *verification) writeText(w io.Writer) error {
	for _, m := range v.Models {
		var err error
		switch {
		case m.OK && m.Want == "":
			_, err = fmt.Fprintf(w, "%s: %s read in %s: %s, and nothing says what it should be\n", printable(m.Name), humanize.IBytes(m.Size), tookFor(m.Seconds), m.SHA256)
		case m.OK:
			_, err = fmt.Fprintf(w, "%s: right, %s read in %s: %s\n", printable(m.Name), humanize.IBytes(m.Size), tookFor(m.Seconds), m.SHA256)
		default:
			_, err = fmt.Fprintf(w, "%s: WRONG: %s\n", printable(m.Name), m.Problem)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
