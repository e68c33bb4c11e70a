// Package container drives the container runtimes of a host, Docker and Podman, by their
// command lines.
//
// Docker has an API and rootless Podman none unless a service of its own runs, so that the
// command lines are what both have. A runtime is always called with fixed arguments and an
// environment of its own, and never by a shell; Podman without privileges is called as the user
// whose containers they are, so that nothing which that user controls is done by root.
package container

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/llmhost/llmhost/internal/agent/account"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// The runtimes by the names of their programs.
const (
	Docker = "docker"
	Podman = "podman"
)

// Root is the user whose containers run with the host's privileges.
const Root = "root"

// quickTimeout bounds a question to a runtime, and a removal. Loading and pulling end with their
// caller instead.
const quickTimeout = 2 * time.Minute

// System is where runtimes and their users are looked up.
type System struct {
	Accounts account.Database
	// Path are the folders of programs, separated by colons; empty: the host's usual ones.
	Path string
}

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"

// Runtime is one runtime as one user has it.
type Runtime struct {
	Name string // Docker or Podman
	User string // Root, or the user that runs Podman without privileges

	program string
	path    string
	home    string
	// as are the ids that the program gets; nil: the agent's own.
	as *syscall.Credential
}

// Runtime looks up a runtime. A missing program is a NO_TOOL, a missing user a NO_SUCH_USER.
func (s System) Runtime(name, user string) (*Runtime, error) {
	r := &Runtime{Name: name, User: user, path: s.Path, home: "/root"}
	switch {
	case name != Docker && name != Podman:
		return nil, fault.New(agentpb.Reason_INVALID, "%q is no container runtime: use docker or podman", name)
	case name == Docker && user != Root:
		return nil, fault.New(agentpb.Reason_INVALID, "Docker's images are root's, not those of %q", user)
	}
	if r.path == "" {
		r.path = searchPath
	}
	if user != Root {
		if err := r.become(s.Accounts); err != nil {
			return nil, err
		}
	}
	for _, dir := range filepath.SplitList(r.path) {
		if program, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			r.program = program
			return r, nil
		}
	}
	return nil, fault.New(agentpb.Reason_NO_TOOL, "the program %s is missing on the host", name).With("tool", name).
		Hint("install it: the package is %s on Debian", map[string]string{Docker: "docker.io", Podman: "podman"}[name])
}

// become has the runtime called as its user, with all of that user's groups.
func (r *Runtime) become(accounts account.Database) error {
	u, err := accounts.User(r.User)
	if err != nil {
		return fault.OfPath("read", "the list of users", err)
	}
	if u == nil {
		return fault.New(agentpb.Reason_NO_SUCH_USER, "there is no user %q on the host", r.User)
	}
	if u.UID == 0 {
		return fault.New(agentpb.Reason_INVALID, "%q is root under another name", r.User)
	}
	as := &syscall.Credential{Uid: u.UID}
	for i, name := range append([]string{u.Group}, u.Groups...) {
		gid, found, err := accounts.GID(name)
		if err != nil || !found {
			return fault.New(agentpb.Reason_NO_SUCH_USER, "the group %q of %s is not on the host", name, r.User)
		}
		if i == 0 {
			as.Gid = uint32(gid)
		}
		as.Groups = append(as.Groups, uint32(gid))
	}
	r.as, r.home = as, u.Home
	return nil
}

// command is a call of the runtime. It belongs to a process group of its own, so that a
// terminal's Ctrl-C on the agent's side doesn't end it halfway.
func (r *Runtime) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.program, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + r.path, "HOME=" + r.home}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if r.as != nil {
		cmd.SysProcAttr.Credential = r.as
		runtimeDir := "/run/user/" + strconv.FormatUint(uint64(r.as.Uid), 10)
		cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+runtimeDir, "DBUS_SESSION_BUS_ADDRESS=unix:path="+runtimeDir+"/bus")
	}
	// A runtime that was told to end gets time to tidy up.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// maxOutput bounds what is kept of a runtime's output: the description of one container is some
// ten thousand bytes.
const maxOutput = 4 << 20

// ask runs a short command and returns what it has written.
func (r *Runtime) ask(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	return r.run(r.command(ctx, args...))
}

// run runs a command to its end. Its error is a *refusal if the runtime has answered.
func (r *Runtime) run(cmd *exec.Cmd) ([]byte, error) {
	stdout, stderr := &bounded{limit: maxOutput}, &bounded{limit: 16 << 10}
	if cmd.Stdout == nil {
		cmd.Stdout = stdout
	}
	cmd.Stderr = stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil && stdout.full:
		return nil, fault.New(agentpb.Reason_REASON_UNSPECIFIED, "%s has answered with more than %d bytes", r.Name, maxOutput)
	case err == nil:
		return stdout.Bytes(), nil
	case errors.As(err, &exit):
		return nil, &refusal{runtime: r.Name, said: lastLine(stderr.String(), err)}
	default:
		return nil, fault.OfPath("run", r.program, err)
	}
}

// refusal is a runtime's own error.
type refusal struct{ runtime, said string }

func (e *refusal) Error() string { return e.runtime + " refused: " + e.said }

// says reports whether the runtime's error holds one of the texts, in any case of letters.
func (e *refusal) says(texts ...string) bool {
	said := strings.ToLower(e.said)
	for _, t := range texts {
		if strings.Contains(said, t) {
			return true
		}
	}
	return false
}

// failed puts a runtime's refusal into an error for the other side.
func failed(err error) error {
	var no *refusal
	if !errors.As(err, &no) {
		return err
	}
	reason := agentpb.Reason_REASON_UNSPECIFIED
	if no.says("no space left on device") {
		reason = agentpb.Reason_NO_SPACE
	}
	e := fault.New(reason, "%s", no.Error())
	if no.says("cannot connect to the docker daemon") {
		e = e.Hint("start it on the host: systemctl start docker")
	}
	return e
}

// lastLine is the last line of what a program has said: those before it are progress and
// warnings.
func lastLine(said string, err error) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return last
	}
	return err.Error()
}

// bounded keeps the first bytes of what is written to it.
type bounded struct {
	bytes.Buffer
	limit int
	full  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.limit - b.Len()
	if len(p) > room {
		b.full = true
		b.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

var _ io.Writer = (*bounded)(nil)
