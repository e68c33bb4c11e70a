package hostfile

import (
	"fmt"
	"strings"
	"time"
)

// The kinds of secrets.
const (
	SecretAPIKey = "api-key" // a bearer token that clients send
	SecretHMAC   = "hmac"    // signs requests, and is never sent
)

// Secret is a key that llmhost makes, delivers and rotates. Its value is never in a host file.
type Secret struct {
	Place

	Name    string        // what servers refer to
	Kind    string        // SecretAPIKey or SecretHMAC
	MaxAge  time.Duration // after which it counts as too old; 0: never
	Overlap time.Duration // for which a key that was rotated out is still accepted
}

// Secret returns the secret with the given name, or nil.
func (h *Host) Secret(name string) *Secret {
	return find(h.Secrets, name, func(s *Secret) string { return s.Name })
}

var (
	secretName = named(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`, 50, "lower-case letters, digits and hyphens (not at the ends)")
	secretKind = choice("kind of secret", SecretAPIKey, SecretHMAC)
	secretAge  = quoted("a duration or `never`", parseSecretAge)
	// A rotation that leaves no time for clients is `llmhost secrets rotate --now`.
	secretOverlap = quoted("a duration", func(s string) (time.Duration, error) { return parsePeriod(s, "", time.Minute, 90*24*time.Hour) })
)

func parseSecretAge(s string) (time.Duration, error) {
	return parsePeriod(s, "never", time.Hour, 10*365*24*time.Hour)
}

// parsePeriod reads a duration that may be of days and weeks, which have to be written in hours. The word, if there is one,
// stands for 0.
func parsePeriod(s, word string, least, most time.Duration) (time.Duration, error) {
	or := ""
	if word != "" {
		if s == word {
			return 0, nil
		}
		or = fmt.Sprintf(", or %q", word)
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		if days, ok := strings.CutSuffix(s, "d"); ok {
			if d, err := time.ParseDuration(days + "h"); err == nil && d > 0 && d <= most/24 {
				return 0, faultf(fmt.Sprintf("is %q, and a day is no unit", s), "Write %q.", fmt.Sprintf("%gh", 24*d.Hours()))
			}
		}
		return 0, faultf(fmt.Sprintf("is %q, which is no duration", s), "Write hours such as %q%s.", "168h", or)
	}
	if d < least || d > most {
		return 0, faultf(fmt.Sprintf("is %q, which is out of range", s), "Write a duration from %q to %q%s.", short(least), short(most), or)
	}
	return d, nil
}

// short writes a duration without the units that are zero.
func short(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

func (d *decoder) checkSecrets(h *Host) {
	checkUnique(d, "secret", h.Secrets, func(s *Secret) string { return s.Name })
	for i := range h.Secrets {
		s := &h.Secrets[i]
		if s.MaxAge > 0 && s.Overlap >= s.MaxAge {
			d.errorAt(s.At("overlap"), fmt.Sprintf("overlap is %s, and the secret is too old after %s", short(s.Overlap), short(s.MaxAge)),
				"An old key would be accepted for as long as it could have been in use. Make overlap shorter than max_age.")
		}
	}
	names := namesOf(h.Secrets, func(s *Secret) string { return s.Name })
	for i := range h.Servers {
		if s := &h.Servers[i]; s.APIKey != "" {
			d.checkAPIKey(h, s, names)
		}
	}
}

// checkAPIKey refuses a key that isn't one for clients, and one that the server's engine wouldn't ask for: a server that
// looks closed and is open is worse than one that is known to be open.
func (d *decoder) checkAPIKey(h *Host, s *Server, names []string) {
	d.checkReference(s.At("api_key"), "secret", s.APIKey, names)
	if secret := h.Secret(s.APIKey); secret != nil && secret.Kind == SecretHMAC {
		d.errorAt(s.At("api_key"), fmt.Sprintf("api_key names the secret %q, which is of the kind %s", s.APIKey, SecretHMAC),
			"It is at %s. Clients send an API key; an HMAC key is never sent. Use a secret of the kind %s.", position(secret.Range), SecretAPIKey)
	}
	if s.Runtime == RuntimeQuadlet {
		d.errorAt(s.At("api_key"), fmt.Sprintf("api_key isn't for the runtime %s yet", s.Runtime), "Remove it, or set runtime = %q.", RuntimeSystemd)
	}
	if e := h.Engine(s.Engine); e != nil && e.Kind == KindOllama {
		d.errorAt(s.At("api_key"), "api_key isn't for engines of the kind ollama",
			"Ollama checks no key. Remove it: listen = \"unix\" keeps everybody out but root and the server's group.")
	}
}
