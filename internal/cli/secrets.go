package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/engine"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/secrets"
)

func newSecretsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secrets",
		Short: "Make, rotate and hand out the keys of a host",
		Long: "API keys and HMAC keys that the host file declares in secret blocks. They are made here, kept\n" +
			"encrypted in the stack's settings, and delivered by `llmhost up`. No value is printed unless it\n" +
			"is asked for.",
		Args:                       aVerb,
		SuggestionsMinimumDistance: 2,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSecretsGenerateCmd(), newSecretsRotateCmd(), newSecretsListCmd(), newSecretsExportCmd())
	return cmd
}

// keyring is the secrets of a host: what its file declares and what its stack's settings keep.
type keyring struct {
	stack    string
	host     *hostfile.Host
	settings *engine.Settings
}

// openKeyring opens the secrets of a host. Its stack is made if it isn't there and create is set.
func openKeyring(cmd *cobra.Command, named string, create bool) (*keyring, error) {
	s, err := open(cmd, named)
	if err != nil {
		return nil, err
	}
	stack, err := s.stack(cmd.Context(), named)
	if err != nil {
		return nil, err
	}
	if err := s.validHostFile(stack); err != nil {
		return nil, err
	}
	if err := s.exists(cmd, stack, create); err != nil {
		return nil, err
	}
	host, err := loadHost(stack)
	if err != nil {
		return nil, err
	}
	settings, err := s.engine.Settings(cmd.Context(), stack)
	if err != nil {
		return nil, s.environment.WrongKey(err)
	}
	return &keyring{stack: stack, host: host, settings: settings}, nil
}

// declared is a secret of the host file.
func (k *keyring) declared(name string) (*hostfile.Secret, error) {
	if s := k.host.Secret(name); s != nil {
		return s, nil
	}
	var names []string
	for _, s := range k.host.Secrets {
		names = append(names, s.Name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s declares no secret: add a block secret %q { … }", k.host.File, name)
	}
	return nil, fmt.Errorf("%s declares no secret %q; it declares %s", k.host.File, name, strings.Join(names, ", "))
}

// errNoKey says that a declared secret wasn't generated yet.
var errNoKey = errors.New("it has no key yet")

// stored is what the settings keep of a secret. The error says what is wrong with it and not
// what it holds.
func (k *keyring) stored(ctx context.Context, s *hostfile.Secret) (secrets.Secret, error) {
	text, ok, err := k.settings.Secret(ctx, secrets.ConfigKey(s.Name))
	switch {
	case err != nil:
		return secrets.Secret{}, err
	case !ok:
		return secrets.Secret{}, errNoKey
	}
	secret, err := secrets.Parse(text)
	if err == nil && secret.Kind != s.Kind {
		err = fmt.Errorf("it is of the kind %s in the stack's settings", secret.Kind)
	}
	return secret, err
}

// store keeps secrets, all or none.
func (k *keyring) store(ctx context.Context, all map[string]secrets.Secret) error {
	values := map[string]string{}
	for name, secret := range all {
		text, err := secret.Marshal()
		if err != nil {
			return err
		}
		values[secrets.ConfigKey(name)] = text
	}
	return k.settings.SetSecrets(ctx, values)
}

// usedBy lists the servers that ask for a secret.
func (k *keyring) usedBy(name string) []string {
	servers := []string{}
	for _, s := range k.host.Servers {
		if s.APIKey == name {
			servers = append(servers, s.Name)
		}
	}
	slices.Sort(servers)
	return servers
}

// apiKeyOf is the key that a server of a host wants to be sent, empty for one that wants none.
func apiKeyOf(cmd *cobra.Command, h *hostfile.Host, s *hostfile.Server) (string, error) {
	if s.APIKey == "" {
		return "", nil
	}
	k, err := openKeyring(cmd, h.Name, false)
	if err != nil {
		return "", err
	}
	declared, err := k.declared(s.APIKey)
	if err != nil {
		return "", err
	}
	secret, err := k.stored(cmd.Context(), declared)
	if err != nil {
		return "", fmt.Errorf("server %s asks for the secret %q: %w", s.Name, s.APIKey, err)
	}
	return secret.Current().Value, nil
}
