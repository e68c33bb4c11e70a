// Package packages installs packages of a host's distribution.
//
// It exists so that an engine or a container runtime can be one: what is there already is used as
// it is, and llmhost removes nothing that it hasn't installed. The package managers are called with
// fixed arguments, never ask, and remove nothing to install something.
package packages

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/task"
)

// State is what a package manager knows of a package.
type State struct {
	Installed bool
	Version   string
	Held      bool     // the host's own upgrades leave it as it is
	Modified  []string // programs and libraries that aren't as they were installed, sorted
}

// manager is a distribution's package manager: fixed commands, to which a name is added.
type manager struct {
	name        string
	programs    []string // by which it is found
	version     []string // prints "STATUS VERSION"
	installed   func(status string) bool
	held        func(ctx context.Context, name string) bool
	verify      []string // prints a line for each file that differs
	install     []string
	refresh     []string // brings the lists of what is offered
	resume      []string // goes on with what was interrupted
	remove      []string // refuses what something else needs
	pinned      func(name, version string) string
	downgrade   []string // further arguments to install an older version
	hold        []string
	release     []string
	environment []string
}

var apt = &manager{
	name:      "apt",
	programs:  []string{"apt-get", "dpkg-query", "dpkg"},
	version:   []string{"dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}\n"},
	installed: func(status string) bool { return status == "installed" },
	held: func(ctx context.Context, name string) bool {
		out, err := query(ctx, []string{"dpkg-query", "--show", "--showformat=${db:Status-Want}"}, name)
		return err == nil && out == "hold"
	},
	verify: []string{"dpkg", "--verify"},
	install: []string{
		"apt-get", "--quiet", "--yes", "--no-install-recommends", "--no-remove",
		"--option=Dpkg::Use-Pty=0", "--option=DPkg::Lock::Timeout=300",
		"--option=Dpkg::Options::=--force-confdef", "--option=Dpkg::Options::=--force-confold",
		"install",
	},
	refresh:   []string{"apt-get", "--quiet", "--yes", "--option=DPkg::Lock::Timeout=300", "update"},
	resume:    []string{"dpkg", "--configure", "--pending", "--force-confdef", "--force-confold"},
	remove:    []string{"dpkg", "--remove"},
	pinned:    func(name, version string) string { return name + "=" + version },
	downgrade: []string{"--allow-downgrades", "--allow-change-held-packages"},
	hold:      []string{"apt-mark", "hold"},
	release:   []string{"apt-mark", "unhold"},
	// Nobody is asked, and no service is restarted for the new libraries of others.
	environment: []string{"DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "LC_ALL=C"},
}

// dnf is from its documentation: it was not run here.
var dnf = &manager{
	name:        "dnf",
	programs:    []string{"dnf", "rpm"},
	version:     []string{"rpm", "--query", "--queryformat", "installed %{EVR}\n"},
	installed:   func(status string) bool { return status == "installed" },
	held:        func(context.Context, string) bool { return false },
	verify:      []string{"rpm", "--verify", "--nomtime", "--nodeps", "--noscripts"},
	install:     []string{"dnf", "--quiet", "--assumeyes", "--setopt=install_weak_deps=False", "install"},
	refresh:     []string{"dnf", "--quiet", "makecache"},
	remove:      []string{"rpm", "--erase"},
	pinned:      func(name, version string) string { return name + "-" + version },
	downgrade:   []string{"--allowerasing"},
	environment: []string{"LC_ALL=C"},
}

// find returns the host's package manager, nil when it has none that is known here.
func find() *manager {
	for _, m := range []*manager{apt, dnf} {
		missing := slices.ContainsFunc(m.programs, func(p string) bool {
			_, err := lookUp(p)
			return err != nil
		})
		if !missing {
			return m
		}
	}
	return nil
}

// Installed is the name of the host's package manager: apt, dnf, or "".
func Installed() string {
	if m := find(); m != nil {
		return m.name
	}
	return ""
}

var (
	validName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._-]{0,98}[A-Za-z0-9+.]$`)
	validVersion = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+~:^_-]{0,99}$`)
)

// ValidName refuses what a package manager could take for an option, a path or a pattern.
func ValidName(name string) error {
	if !validName.MatchString(name) {
		return fault.New(agentpb.Reason_INVALID, "%q is no name of a package", name)
	}
	return nil
}

// queryTimeout bounds a question to a package manager. Comparing a large package reads it.
const queryTimeout = 5 * time.Minute

// Look describes a package.
func Look(ctx context.Context, name string) (State, error) {
	m, err := need(name)
	if err != nil {
		return State{}, err
	}
	out, err := query(ctx, m.version, name)
	if err != nil {
		return State{}, err
	}
	var s State
	for line := range strings.Lines(out) {
		if status, version, _ := strings.Cut(strings.TrimSpace(line), " "); m.installed(status) {
			s.Installed, s.Version = true, version
		}
	}
	if !s.Installed {
		return State{}, nil
	}
	s.Held = m.held(ctx, name)
	if out, err = query(ctx, m.verify, name); err != nil {
		return State{}, err
	}
	s.Modified = modified(out)
	return s, nil
}

// program matches what a server runs of a package. Configuration is there to be changed, and many
// hosts leave documentation out.
var program = regexp.MustCompile(`^/(usr/)?(local/)?(bin|sbin|lib|lib32|lib64|libexec)/`)

// modified reads what dpkg --verify and rpm --verify print: "??5?????? c /etc/x", "missing /usr/y".
func modified(out string) []string {
	files := []string{}
	for line := range strings.Lines(out) {
		at := strings.Index(line, " /")
		if at < 0 || strings.HasSuffix(strings.TrimRight(line[:at], " "), " c") {
			continue
		}
		if file := strings.TrimSpace(line[at:]); program.MatchString(file) {
			files = append(files, file)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// Install installs a package, or the given version of it, newer or older. resume first ends what
// was interrupted. say gets each line that the package manager prints.
func Install(ctx context.Context, name, version string, resume bool, say func(string)) error {
	m, err := need(name)
	if err != nil {
		return err
	}
	what := name
	command := slices.Clone(m.install)
	if version != "" {
		if !validVersion.MatchString(version) {
			return fault.New(agentpb.Reason_INVALID, "%q is no version of a package", version)
		}
		what = m.pinned(name, version)
		command = append(command, m.downgrade...)
	}
	if resume && m.resume != nil {
		if err := m.run(ctx, "resume", m.resume, say); err != nil {
			return err
		}
	}
	command = append(command, "--", what)
	if err = m.run(ctx, "install", command, say); err == nil || ctx.Err() != nil {
		return err
	}
	// The host may not know yet what is offered.
	say("looking for what is offered now")
	if refreshed := m.run(ctx, "refresh", m.refresh, say); refreshed == nil {
		err = m.run(ctx, "install", command, say)
	}
	return refused(err, what)
}

// Repair installs the files of an installed package again.
func Repair(ctx context.Context, name, version string, say func(string)) error {
	m, err := need(name)
	if err != nil {
		return err
	}
	if m != apt {
		return m.run(ctx, "install", []string{"dnf", "--quiet", "--assumeyes", "reinstall", "--", m.pinned(name, version)}, say)
	}
	command := append(slices.Clone(m.install), "--reinstall", "--allow-downgrades", "--allow-change-held-packages", "--", m.pinned(name, version))
	return refused(m.run(ctx, "install", command, say), m.pinned(name, version))
}

// refused explains the end of a package manager.
func refused(err error, what string) error {
	var failed *task.Failed
	if !errors.As(err, &failed) {
		return err
	}
	said := strings.Join(failed.Said, "\n")
	f := fault.New(agentpb.Reason_REASON_UNSPECIFIED, "%s can't be installed: %s", what, said)
	switch {
	case strings.Contains(said, "Unable to locate package"), strings.Contains(said, "Unable to find a match"), strings.Contains(said, "has no installation candidate"):
		return f.Hint("the host's archives don't have it: correct the name, or add the archive that has it")
	case strings.Contains(said, "was not found"):
		return f.Hint("the host's archives don't have that version any more, or not yet: apt-cache madison NAME lists those that they have")
	case strings.Contains(said, "need to be removed"), strings.Contains(said, "remove is disabled"):
		return f.Hint("it would remove other packages, which llmhost doesn't: install it by hand if that is wanted")
	}
	return f
}

// SetHold has the host's own upgrades leave a package as it is, or not.
func SetHold(ctx context.Context, name string, hold bool) error {
	m, err := need(name)
	if err != nil {
		return err
	}
	command := m.release
	if hold {
		command = m.hold
	}
	if command == nil {
		return nil // dnf has it by a plugin only
	}
	_, err = query(ctx, command, name)
	return err
}

// Remove removes a package and leaves what was installed for it. It returns why the package was
// kept, if it was: something else needs it.
func Remove(ctx context.Context, name string) (keptBecause string, err error) {
	m, err := need(name)
	if err != nil {
		return "", err
	}
	err = m.run(ctx, "remove", append(slices.Clone(m.remove), "--", name), func(string) {})
	var failed *task.Failed
	if errors.As(err, &failed) {
		for _, line := range failed.Said {
			if strings.Contains(line, "depends on") || strings.Contains(line, "is needed by") {
				return fmt.Sprintf("other packages need it: %s", strings.TrimSpace(line)), nil
			}
		}
	}
	return "", err
}

// oneAtATime holds back a second change: the package managers have a lock of their own, which a
// second one would wait for without saying so.
var oneAtATime sync.Mutex

// run calls a package manager as a task that goes on when nobody waits for it.
func (m *manager) run(ctx context.Context, what string, command []string, say func(string)) error {
	oneAtATime.Lock()
	defer oneAtATime.Unlock()
	program, err := lookUp(command[0])
	if err != nil {
		return err
	}
	return task.Task{
		Unit:        "llmhost-packages",
		Description: m.name + " " + what,
		Argv:        append([]string{program}, command[1:]...),
		Environment: append([]string{"PATH=" + searchPath}, m.environment...),
	}.Run(ctx, say)
}

// query asks a package manager's database. That it knows nothing of a package is no error, and
// nor is what differs.
func query(ctx context.Context, command []string, name string) (string, error) {
	tool, err := lookUp(command[0])
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, append(slices.Clone(command[1:]), "--", name)...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + searchPath}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return string(out), nil
	}
	return string(out), err
}

// need returns the host's package manager for a package.
func need(name string) (*manager, error) {
	if err := ValidName(name); err != nil {
		return nil, err
	}
	m := find()
	if m == nil {
		return nil, fault.New(agentpb.Reason_NO_TOOL, "the host has neither apt nor dnf, by which llmhost installs packages").With("tool", "apt").
			Hint("use an engine of another form: an archive or a container image")
	}
	return m, nil
}

const searchPath = "/usr/sbin:/usr/bin:/sbin:/bin"

func lookUp(tool string) (string, error) {
	for _, dir := range filepath.SplitList(searchPath) {
		if path, err := exec.LookPath(filepath.Join(dir, tool)); err == nil {
			return path, nil
		}
	}
	return "", fault.New(agentpb.Reason_NO_TOOL, "the program %s is missing on the host", tool).With("tool", tool)
}
