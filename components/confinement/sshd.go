package confinement

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/llmhost/llmhost/internal/hostfile"
)

// SshdPath is read before the distribution's own files, and sshd takes the first value of each
// setting.
const SshdPath = "/etc/ssh/sshd_config.d/10-llmhost.conf"

// Sshd are settings of the host's SSH server.
type Sshd struct{ *hostfile.Sshd }

// setting is a line of sshd_config(5).
type setting struct{ keyword, value string }

func (s Sshd) settings() []setting {
	all := []setting{
		{"PasswordAuthentication", yesNo(s.PasswordAuthentication)},
		{"KbdInteractiveAuthentication", yesNo(s.KeyboardInteractive)},
		{"PermitRootLogin", s.PermitRootLogin},
	}
	if len(s.AllowUsers) > 0 {
		all = append(all, setting{"AllowUsers", strings.Join(s.AllowUsers, " ")})
	}
	return all
}

// plainUser is a name that isn't a pattern (ssh_config(5), PATTERNS).
var plainUser = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*\$?$`)

// Text renders the settings as sshd reads them.
func (s Sshd) Text() (string, error) {
	for _, user := range s.AllowUsers {
		if !plainUser.MatchString(user) {
			return "", fmt.Errorf("%s: the user %q would be a pattern to sshd", s.At("allow_users"), user)
		}
	}
	var b strings.Builder
	for _, line := range s.settings() {
		fmt.Fprintf(&b, "%s %s\n", line.keyword, line.value)
	}
	return b.String(), nil
}

// Effective are the settings as sshd -T prints them once they are in force.
func (s Sshd) Effective() map[string]string {
	effective := map[string]string{}
	for _, line := range s.settings() {
		value := line.value
		if value == "prohibit-password" {
			value = "without-password" // the name that it once had
		}
		effective[strings.ToLower(line.keyword)] = value
	}
	return effective
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
