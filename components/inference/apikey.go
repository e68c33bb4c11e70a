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

	// SecretsInMemory holds the keys of containers on the host, in a folder for each server. Like
	// all of /run it is in memory.
	SecretsInMemory = "/run/llmhost-secrets"

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
// the same place whatever the unit's root directory is. A container has its keys where images
// expect secrets.
func (s *Server) keyFileInside() string {
	if s.inContainer() {
		return path.Join("/run/secrets", s.credential())
	}
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

// KeyBind is the file with the API keys of a server in a container; ok is false for one that asks
// for none. It is there once the unit that places it has run, which a container's runtime isn't
// started before.
func (s *Server) KeyBind() (bind systemd.Bind, ok bool) {
	return systemd.Bind{Source: s.keyInMemory(), Target: s.keyFileInside()}, s.Server.APIKey != ""
}

// keyInMemory is where a container's keys are on the host.
func (s *Server) keyInMemory() string {
	return path.Join(SecretsInMemory, s.Server.Name, s.credential())
}

// KeyIDs name the keys that the server has read, for what has to start it again; empty for one
// that asks for none.
func (s *Server) KeyIDs() string {
	if s.APIKeys == nil {
		return ""
	}
	var ids []string
	for _, k := range s.APIKeys.Keys {
		ids = append(ids, k.ID)
	}
	return strings.Join(ids, " ")
}

// keyUnitName is the unit that opens the credential for a container. No server's name can hold its
// "@".
func (s *Server) keyUnitName() string { return "llmhost-key@" + s.Server.Name + ".service" }

// keyUnit opens the credential at boot, before containers start, and puts the keys into memory for
// the one user that the container runs as. A container's runtime can't open credentials, and a file
// on the disk would be in clear. While the unit is stopped, the keys are gone.
func (s *Server) keyUnit() systemd.Unit {
	user, group := s.Server.UserName(), s.Server.UserName()
	if uid, gid, written := strings.Cut(s.Server.User, ":"); written {
		user, group = uid, gid
	}
	u := systemd.Unit{
		Unit: systemd.UnitSection{
			Description: systemd.Text("API keys of the container " + s.Server.Name),
			Before:      systemd.Words{"docker.service", "systemd-user-sessions.service"},
		},
		Service: systemd.ServiceSection{
			Type:            "oneshot",
			RemainAfterExit: systemd.Yes,
			ExecStart: systemd.Command{"/usr/bin/install", "-m", "0400", "-o", user, "-g", group,
				path.Join("/run/credentials", s.keyUnitName(), s.credential()), s.keyInMemory()},
			RuntimeDirectory:     systemd.Words{path.Join(path.Base(SecretsInMemory), s.Server.Name)},
			RuntimeDirectoryMode: "0711",

			CapabilityBoundingSet:   systemd.Words{"CAP_CHOWN", "CAP_FOWNER"},
			NoNewPrivileges:         systemd.Yes,
			PrivateNetwork:          systemd.Yes,
			PrivateDevices:          systemd.Yes,
			PrivateTmp:              "yes",
			ProtectSystem:           "strict",
			ProtectHome:             "yes",
			ProtectKernelTunables:   systemd.Yes,
			ProtectKernelModules:    systemd.Yes,
			ProtectControlGroups:    systemd.Yes,
			RestrictAddressFamilies: systemd.Words{"AF_UNIX"},
			RestrictNamespaces:      systemd.Yes,
			LockPersonality:         systemd.Yes,
			MemoryDenyWriteExecute:  systemd.Yes,
			SystemCallArchitectures: systemd.Words{"native"},
			SystemCallFilter:        systemd.Lines{{"@system-service"}},
		},
		Install: systemd.InstallSection{WantedBy: systemd.Words{"multi-user.target"}},
	}
	s.loadAPIKeys(&u)
	return u
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

// declareAPIKeys declares the credential, "NAME-api-key", and for a container the unit that opens it,
// "NAME-key-unit"; nothing for a server that asks for none.
func declareAPIKeys(ctx *pulumi.Context, name string, s *Server, user pulumi.Resource, parent pulumi.ResourceOption) ([]pulumi.Resource, error) {
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
	if !s.inContainer() {
		return []pulumi.Resource{credential}, nil
	}
	text, err := s.keyUnit().Text()
	if err != nil {
		return nil, fmt.Errorf("%s: the unit for the API keys of server %q can't be written: %w", s.Server.At("api_key"), name, err)
	}
	unit, err := llmhost.NewSystemdUnit(ctx, name+"-key-unit", &llmhost.SystemdUnitArgs{
		Name:      pulumi.String(s.keyUnitName()),
		Content:   pulumi.String(text),
		RestartOn: pulumi.StringMap{"api keys": pulumi.String(s.KeyIDs())},
	}, parent, pulumi.DependsOn(append([]pulumi.Resource{credential}, user)))
	if err != nil {
		return nil, fmt.Errorf("declare the unit for the API keys of server %q: %w", name, err)
	}
	return []pulumi.Resource{credential, unit}, nil
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
