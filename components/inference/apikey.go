package inference

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
	"github.com/llmhost/llmhost/internal/secrets"
)

const (
	// CredentialsRoot holds the credentials on the host, sealed by it.
	CredentialsRoot = "/etc/llmhost/credentials"

	// sealsSince is the version of systemd that can load sealed credentials.
	sealsSince = 250
)

// APIKeys are the keys that a server accepts from its clients.
type APIKeys struct {
	Secret hostfile.Secret
	Keys   []secrets.Key // the current one first
}

// credential is the name of the credential that holds the server's API keys.
func (s *Server) credential() string { return s.Server.Name + "-api-key" }

// credentialFile is the credential's file on the host.
func (s *Server) credentialFile() string { return path.Join(CredentialsRoot, s.credential()) }

// keyFileInside is where the server reads its API keys. systemd mounts a unit's credentials at
// the same place whatever the unit's root directory is.
func (s *Server) keyFileInside() string {
	return path.Join("/run/credentials", s.Server.UnitName(), s.credential())
}

// loadAPIKeys has systemd open the credential for the server, in a file system in memory that
// only this service sees. The unit says where it is and nothing of what is in it.
func (s *Server) loadAPIKeys(u *systemd.Unit) {
	if s.Server.APIKey == "" {
		return
	}
	load := systemd.Credentials{{Name: s.credential(), Path: s.credentialFile()}}
	if s.InClear {
		u.Service.LoadCredential = load
		return
	}
	u.Service.LoadCredentialEncrypted = load
}

// keyFile is the credential as the server's engine reads it.
//
// llama-server reads a key from each line. vLLM has no file of keys: it takes arguments, which
// every process of the host can see, a variable, which its own children inherit, and a file of
// arguments, which is this one.
func (s *Server) keyFile(keys []secrets.Key) string {
	var b strings.Builder
	if s.Engine.Kind == hostfile.KindVLLM {
		b.WriteString("api-key:\n")
		for _, k := range keys {
			fmt.Fprintf(&b, "  - %q\n", k.Value)
		}
		return b.String()
	}
	for _, k := range keys {
		fmt.Fprintln(&b, k.Value)
	}
	return b.String()
}

// declareAPIKeys declares the credential, "NAME-api-key"; nil for a server that asks for none.
func declareAPIKeys(ctx *pulumi.Context, name string, s *Server, parent pulumi.ResourceOption) ([]pulumi.Resource, error) {
	if s.Server.APIKey == "" {
		return nil, nil
	}
	if s.APIKeys == nil || len(s.APIKeys.Keys) == 0 {
		return nil, fmt.Errorf("%s: server %q asks its clients for the secret %q, and it has no key", s.Server.At("api_key"), s.Server.Name, s.Server.APIKey)
	}
	secret, keys := s.APIKeys.Secret, s.APIKeys.Keys
	args := &llmhost.CredentialArgs{
		Path:          pulumi.String(s.credentialFile()),
		Content:       pulumi.ToSecret(pulumi.String(s.keyFile(keys))).(pulumi.StringOutput),
		Encrypted:     pulumi.Bool(!s.InClear),
		Secret:        pulumi.String(secret.Name),
		Created:       pulumi.String(keys[0].Created.Format(time.RFC3339)),
		MaxAgeSeconds: pulumi.Int(int(secret.MaxAge.Seconds())),
	}
	if first := firstToExpire(keys); !first.IsZero() {
		args.Expires = pulumi.String(first.Format(time.RFC3339))
	}
	credential, err := llmhost.NewCredential(ctx, name+"-api-key", args, parent)
	if err != nil {
		return nil, fmt.Errorf("declare the API keys of server %q: %w", name, err)
	}
	return []pulumi.Resource{credential}, nil
}

// firstToExpire is when the next of the keys ends to be accepted, zero for never.
func firstToExpire(keys []secrets.Key) time.Time {
	var first time.Time
	for _, k := range keys {
		if !k.Expires.IsZero() && (first.IsZero() || k.Expires.Before(first)) {
			first = k.Expires
		}
	}
	return first
}

// keyIDs name the keys that the server has read, for what has to restart it.
func (s *Server) keyIDs() string {
	var ids []string
	for _, k := range s.APIKeys.Keys {
		ids = append(ids, k.ID)
	}
	return strings.Join(ids, " ")
}
