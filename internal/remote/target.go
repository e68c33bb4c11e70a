package remote

import (
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
)

// DefaultStateDir is where the agent keeps its ledger, its lease and its binary.
const DefaultStateDir = "/var/lib/llmhost"

// Target says which host to talk to and how. What is empty is taken from the user's own ssh
// configuration, as ssh itself would.
type Target struct {
	HostID  string // the host's name for people and for state; never used to connect
	Local   bool   // this machine itself, without SSH
	Address string // host name, IP address or an alias of the user's ssh configuration
	Port    int    // 0: of the ssh configuration, else 22
	User    string

	Identity   string // private key file; "~/" is the user's home
	KnownHosts string // known_hosts file, in place of the user's own
	HostKey    string // the host's public key in authorized_keys form; wins over known_hosts
	Jump       string // hosts to go through, as ssh's -J: [user@]host[:port],…

	StateDir string // empty: DefaultStateDir; see Options.Unprivileged
}

// statePath is what a state folder may look like. The path becomes a word of the start
// script, so nothing that a shell could read in another way is let through.
var statePath = regexp.MustCompile(`^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$`)

func (t Target) validate() error {
	invalid := func(format string, args ...any) error {
		return &Error{Op: "connect", Message: fmt.Sprintf(format, args...), kind: ErrTarget}
	}
	if !statePath.MatchString(t.stateDir()) {
		return invalid("the state folder %q is not an absolute path of letters, digits, '.', '_' and '-'", t.StateDir)
	}
	if t.Local {
		return nil
	}
	if t.Address == "" {
		return invalid("the host %q has no address", t.HostID)
	}
	for _, word := range []string{t.Address, t.User, t.Jump} {
		if strings.HasPrefix(word, "-") || strings.ContainsFunc(word, isSpaceOrControl) {
			return invalid("%q is not a host, user or jump host", word)
		}
	}
	if t.Port < 0 || t.Port > 65535 {
		return invalid("%d is not a port", t.Port)
	}
	return nil
}

func isSpaceOrControl(r rune) bool { return r <= ' ' || r == 0x7f }

func (t Target) stateDir() string {
	if t.StateDir == "" {
		return DefaultStateDir
	}
	return t.StateDir
}

// key is the same for targets that one connection can serve.
func (t Target) key() string {
	t.StateDir = t.stateDir()
	raw, _ := json.Marshal(t) // a struct of strings, a bool and an int always marshals
	return string(raw)
}

// String is the target as people write it: user@address:port.
func (t Target) String() string {
	if t.Local {
		return "this machine"
	}
	name := t.Address
	if t.Port != 0 {
		name = net.JoinHostPort(t.Address, strconv.Itoa(t.Port))
	}
	if t.User != "" {
		name = t.User + "@" + name
	}
	return name
}
