package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/secrets"
)

// The states of a secret.
const (
	secretOK         = "ok"
	secretMissing    = "missing"      // declared, and not generated
	secretTooOld     = "too old"      // its current key is older than max_age
	secretUnusable   = "unusable"     // in clear, damaged, or of another kind
	secretUndeclared = "not declared" // kept in the settings, and not in the host file
)

type listedSecret struct {
	Name           string      `json:"name"`
	Kind           string      `json:"kind,omitempty"`
	State          string      `json:"state"`
	Reason         string      `json:"reason,omitempty"`
	UsedBy         []string    `json:"usedBy"`         // servers
	MaxAgeSeconds  int64       `json:"maxAgeSeconds"`  // 0: never too old
	OverlapSeconds int64       `json:"overlapSeconds"` // of a rotation
	Keys           []listedKey `json:"keys"`           // the current one first
}

type listedKey struct {
	ID       string     `json:"id"`
	Current  bool       `json:"current"`
	Accepted bool       `json:"accepted"` // after the next deployment
	Created  time.Time  `json:"created"`
	Expires  *time.Time `json:"expires,omitempty"`
}

type secretList struct {
	Stack   string         `json:"stack"`
	Secrets []listedSecret `json:"secrets"`
}

func newSecretsListCmd() *cobra.Command {
	var stack string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the secrets of a host, without their values",
		Long: "List the secrets that the host file declares and those that the stack's settings keep: their\n" +
			"keys by ID, how old each is and until when it is accepted. The host isn't asked: whether it has\n" +
			"them is what `llmhost drift` says.\n\n" +
			"A secret's state is ok, missing (generate makes it), too old (rotate replaces it), unusable, or not\n" +
			"declared.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := openKeyring(cmd, stack, false)
			if err != nil {
				return err
			}
			list, err := k.list(cmd.Context(), time.Now())
			if err != nil {
				return err
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), list)
			}
			return list.writeText(cmd.OutOrStdout(), time.Now())
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: stack, secrets")
	return cmd
}

func (k *keyring) list(ctx context.Context, now time.Time) (*secretList, error) {
	list := &secretList{Stack: k.stack, Secrets: []listedSecret{}}
	for i := range k.host.Secrets {
		list.Secrets = append(list.Secrets, k.look(ctx, &k.host.Secrets[i], now))
	}
	kept, err := k.settings.Names(ctx, secrets.ConfigKey(""))
	if err != nil {
		return nil, err
	}
	for _, name := range kept {
		if k.host.Secret(name) == nil {
			list.Secrets = append(list.Secrets, listedSecret{Name: name, State: secretUndeclared, UsedBy: []string{}, Keys: []listedKey{},
				Reason: fmt.Sprintf("`llmhost config rm llmhost:%s -s %s` forgets it", secrets.ConfigKey(name), k.stack)})
		}
	}
	return list, nil
}

func (k *keyring) look(ctx context.Context, s *hostfile.Secret, now time.Time) listedSecret {
	listed := listedSecret{Name: s.Name, Kind: s.Kind, State: secretOK, UsedBy: k.usedBy(s.Name), Keys: []listedKey{},
		MaxAgeSeconds: int64(s.MaxAge.Seconds()), OverlapSeconds: int64(s.Overlap.Seconds())}
	secret, err := k.stored(ctx, s)
	switch {
	case errors.Is(err, errNoKey):
		listed.State, listed.Reason = secretMissing, fmt.Sprintf("`llmhost secrets generate -s %s` makes it", k.stack)
		return listed
	case err != nil:
		listed.State, listed.Reason = secretUnusable, err.Error()
		return listed
	}
	for i, key := range secret.Keys {
		one := listedKey{ID: key.ID, Current: i == 0, Accepted: i == 0 || now.Before(key.Expires), Created: key.Created}
		if i > 0 {
			one.Expires = &key.Expires
		}
		listed.Keys = append(listed.Keys, one)
	}
	if s.MaxAge > 0 && now.After(secret.Current().Created.Add(s.MaxAge)) {
		listed.State, listed.Reason = secretTooOld, fmt.Sprintf("`llmhost secrets rotate %s -s %s` replaces it", s.Name, k.stack)
	}
	return listed
}

func (l *secretList) writeText(w io.Writer, now time.Time) error {
	if len(l.Secrets) == 0 {
		_, err := fmt.Fprintf(w, "%s has no secrets.\n", l.Stack)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SECRET\tKIND\tSTATE\tKEY\tMADE\tACCEPTED\tUSED BY")
	for _, s := range l.Secrets {
		usedBy := orDash(strings.Join(s.UsedBy, ", "))
		if len(s.Keys) == 0 {
			fmt.Fprintf(t, "%s\t%s\t%s\t-\t-\t-\t%s\n", printable(s.Name), orDash(s.Kind), s.State, usedBy)
		}
		for _, key := range s.Keys {
			accepted := "yes"
			if key.Expires != nil {
				accepted = "until " + key.Expires.Format(time.RFC3339)
				if !key.Accepted {
					accepted = "no more after `llmhost up`"
				}
			}
			state := s.State
			if !key.Current {
				state = "old"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.Kind, state, key.ID, humanize.RelTime(key.Created, now, "ago", "from now"), accepted, usedBy)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range l.Secrets {
		if s.Reason != "" {
			if _, err := fmt.Fprintf(w, "%s: %s\n", printable(s.Name), s.Reason); err != nil {
				return err
			}
		}
	}
	return nil
}
