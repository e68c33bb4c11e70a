package inference

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/secrets"
)

var made = time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)

// A server reads its keys from its credential; its unit, which everybody may read, names the
// credential alone.
func TestKeysComeAsACredential(t *testing.T) {
	secret := secrets.Generate(hostfile.SecretAPIKey, made).Rotate(made, time.Hour)
	newer, older := secret.Keys[0], secret.Keys[1]
	for name, c := range map[string]struct {
		argument, file string
	}{
		"keys-chat": {"--api-key-file", newer.Value + "\n" + older.Value + "\n"},
		"keys-fast": {"--config", "api-key:\n  - \"" + newer.Value + "\"\n  - \"" + older.Value + "\"\n"},
	} {
		s := servers(t)[name]
		credential := s.Server.Name + "-api-key"
		s.APIKeys = &APIKeys{Keys: secret.Keys}
		if diff := cmp.Diff(c.file, s.keyFile(secret.Keys)); diff != "" {
			t.Errorf("%s: the file of keys (-want +got):\n%s", name, diff)
		}
		u := unit(t, s)
		if diff := cmp.Diff(systemd.Credentials{{Name: credential, Path: "/etc/llmhost/credentials/" + credential}}, u.Service.LoadCredentialEncrypted); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		args := u.Service.ExecStart
		if i := slices.Index(args, c.argument); i < 0 || args[i+1] != "/run/credentials/"+s.Server.UnitName()+"/"+credential {
			t.Errorf("%s is started as %q", name, args)
		}
		text, err := u.Text()
		if err != nil || secrets.Pattern.MatchString(text) || strings.Contains(text, newer.ID) {
			t.Errorf("%s: %v: the unit says something of the keys:\n%s", name, err, text)
		}
		// What restarts the server is which keys it has read, and not what they are.
		if got := s.RestartOn()["api keys"]; got != newer.ID+" "+older.ID {
			t.Errorf("%s restarts on %q", name, got)
		}
		if got := s.Readiness().Credential; got != "/etc/llmhost/credentials/"+credential {
			t.Errorf("%s is asked with %q", name, got)
		}
	}
}

// A systemd that is too old to open a sealed credential loads one that isn't.
func TestOldSystemdLoadsKeysInClear(t *testing.T) {
	host, facts := load(t, "keys")
	facts.SystemdVersion = 249
	s, err := NewServer(host, facts, *host.Server("chat"))
	if err != nil {
		t.Fatal(err)
	}
	if u := unit(t, s); u.Service.LoadCredentialEncrypted != nil || len(u.Service.LoadCredential) != 1 {
		t.Errorf("systemd 249 would have to open %v", u.Service.LoadCredentialEncrypted)
	}
}
