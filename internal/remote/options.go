package remote

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/user"
	"sync"
	"time"

	"github.com/llmhost/llmhost/internal/remote/agentbin"
)

// Options are the choices that do not depend on the host. The zero value is right for a
// program that people run.
type Options struct {
	// Session is the identity under which the host's lease is held; connections with the
	// same session share it. Empty: one random identity for this process.
	Session string
	// Holder names the lease's holder for people. Empty: user, machine and process.
	Holder string
	// LeaseWait is how long Lease waits for another holder to finish. It is rounded to
	// whole seconds.
	LeaseWait time.Duration
	// ConnectTimeout is how long a host that can't be reached is tried again. Zero: 30 s.
	ConnectTimeout time.Duration
	// HandshakeTimeout limits one TCP connection and one SSH handshake, without the time
	// that a person takes to answer a prompt. Zero: 15 s.
	HandshakeTimeout time.Duration
	// Log receives a line of progress for people. Nil: silence.
	Log func(line string)
	// Passphrase asks for the passphrase of an encrypted key file. Nil: on the terminal.
	Passphrase func(ctx context.Context, prompt string) (string, error)
	// Password asks for a login password. Nil: no login by password.
	Password func(ctx context.Context, prompt string) (string, error)
	// AgentBinary provides the agent for an architecture as Go names it. Nil: agentbin.For.
	AgentBinary func(ctx context.Context, arch string) (agentbin.Binary, error)
	// SSHConfig is an ssh configuration file to use in place of the user's and the system's.
	SSHConfig string
	// Unprivileged starts the agent as the login user and not as root; what needs root is
	// refused by the agent. Without a StateDir in the target, its state is in a folder of that
	// user: ~/.local/state/llmhost, or /var/tmp/llmhost-UID where that can't be.
	Unprivileged bool
}

const (
	defaultConnectTimeout   = 30 * time.Second
	defaultHandshakeTimeout = 15 * time.Second
)

func (o Options) withDefaults() Options {
	if o.Session == "" {
		o.Session = processSession()
	}
	if o.Holder == "" {
		o.Holder = processHolder()
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = defaultConnectTimeout
	}
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = defaultHandshakeTimeout
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Passphrase == nil {
		o.Passphrase = PromptOnTerminal
	}
	if o.AgentBinary == nil {
		o.AgentBinary = agentbin.For
	}
	return o
}

// state is the target's state folder: a word of the start script, and what the agent is told.
// The login user's own folder is found by the script, and the agent is told nothing.
func (o Options) state(t Target) (word, dir string) {
	if o.Unprivileged && t.StateDir == "" {
		return "own", ""
	}
	return t.stateDir(), t.stateDir()
}

var processSession = sync.OnceValue(func() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // crypto/rand never returns an error
	return hex.EncodeToString(id[:])
})

func processHolder() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	machine, err := os.Hostname()
	if err != nil {
		machine = "unknown"
	}
	return fmt.Sprintf("%s@%s (pid %d)", name, machine, os.Getpid())
}
