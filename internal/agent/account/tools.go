package account

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// Spec is how a system user is to be. It always has a group of its own with its name.
type Spec struct {
	Name    string
	Groups  []string // supplementary
	Home    string
	Shell   string
	Comment string
}

// toolTimeout bounds one call of the shadow tools, which wait for each other's lock.
const toolTimeout = 30 * time.Second

// userBusy is userdel's exit status for a user whose processes are running (userdel(8)).
const userBusy = 8

var validName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// Validate refuses what would end a field or a line of /etc/passwd.
func (s Spec) Validate() error {
	for _, name := range append([]string{s.Name}, s.Groups...) {
		if !validName.MatchString(name) {
			return fault.New(agentpb.Reason_INVALID, "%q is no name for a system user or group: use a-z, 0-9, _ and -, at most 32, no digit first", name)
		}
	}
	for what, path := range map[string]string{"home": s.Home, "shell": s.Shell} {
		if !filepath.IsAbs(path) || strings.ContainsAny(path, ":\n\x00") {
			return fault.New(agentpb.Reason_INVALID, "the %s of %s must be an absolute path without a colon, not %q", what, s.Name, path)
		}
	}
	if strings.ContainsAny(s.Comment, ":\n\x00") {
		return fault.New(agentpb.Reason_INVALID, "the comment of %s must have no colon and no line break", s.Name)
	}
	return nil
}

// Apply makes the user, or changes what differs. The groups must exist. A group of the user's
// own name that is already there becomes the user's.
func (s Spec) Apply(ctx context.Context, d Database) (changed bool, err error) {
	for _, g := range s.Groups {
		if found, err := d.HasGroup(g); err != nil {
			return false, err
		} else if !found {
			return false, fault.New(agentpb.Reason_NO_SUCH_USER, "the group %s, which %s is to be in, does not exist", g, s.Name)
		}
	}
	was, err := d.User(s.Name)
	if err != nil {
		return false, err
	}
	if was == nil {
		return true, s.add(ctx, d)
	}
	args := s.differences(was)
	if len(args) == 0 {
		return false, nil
	}
	_, err = run(ctx, "usermod", append(args, "--", s.Name)...)
	return true, err
}

func (s Spec) add(ctx context.Context, d Database) error {
	own := []string{"--user-group"}
	grouped, err := d.HasGroup(s.Name)
	if err != nil {
		return err
	}
	if grouped {
		own = []string{"--gid", s.Name}
	}
	args := append(own, "--system", "--no-create-home", "--home-dir", s.Home, "--shell", s.Shell, "--comment", s.Comment)
	if len(s.Groups) > 0 {
		args = append(args, "--groups", strings.Join(s.Groups, ","))
	}
	// useradd leaves the password locked when none is given.
	_, err = run(ctx, "useradd", append(args, "--", s.Name)...)
	return err
}

// differences are usermod's flags. Only what differs is named: usermod refuses some changes,
// even of nothing, while the user's processes run.
func (s Spec) differences(was *User) []string {
	var args []string
	if was.Home != s.Home {
		args = append(args, "--home", s.Home)
	}
	if was.Shell != s.Shell {
		args = append(args, "--shell", s.Shell)
	}
	if was.Comment != s.Comment {
		args = append(args, "--comment", s.Comment)
	}
	groups := slices.Clone(s.Groups)
	slices.Sort(groups)
	if !slices.Equal(slices.Compact(groups), was.Groups) {
		args = append(args, "--groups", strings.Join(groups, ","))
	}
	if !was.Locked {
		args = append(args, "--lock")
	}
	return args
}

// Delete removes a user and the group of its name. It returns why the user was kept, if it was.
func Delete(ctx context.Context, d Database, name string) (keptBecause string, err error) {
	if u, err := d.User(name); err != nil {
		return "", err
	} else if u != nil {
		if busy, err := running("/proc", u.UID); err != nil {
			return "", err
		} else if busy {
			return fmt.Sprintf("processes of the user %s are still running", name), nil
		}
		status, err := run(ctx, "userdel", "--", name)
		if status == userBusy {
			return fmt.Sprintf("processes of the user %s are still running", name), nil
		}
		if err != nil {
			return "", err
		}
	}
	// userdel removes the group only where login.defs says so, and not while it has members.
	if grouped, err := d.HasGroup(name); err != nil || !grouped {
		return "", err
	}
	_, err = run(ctx, "groupdel", "--", name)
	return "", err
}

// run calls one of the shadow tools. A caller that goes away doesn't stop it halfway, since
// that would leave its lock behind.
func run(ctx context.Context, tool string, args ...string) (status int, err error) {
	path, err := lookUp(tool)
	if err != nil {
		return -1, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), toolTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + searchPath}
	output, err := cmd.CombinedOutput()
	if err == nil {
		return 0, nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	}
	said := strings.TrimSpace(string(output))
	if said == "" {
		said = err.Error()
	}
	return status, fault.New(agentpb.Reason_REASON_UNSPECIFIED, "%s refused: %s", tool, said)
}

const searchPath = "/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"

func lookUp(tool string) (string, error) {
	for _, dir := range filepath.SplitList(searchPath) {
		if path, err := exec.LookPath(filepath.Join(dir, tool)); err == nil {
			return path, nil
		}
	}
	return "", fault.New(agentpb.Reason_NO_TOOL, "the program %s is missing on the host", tool).
		With("tool", tool).Hint("install the package that has it: passwd on Debian, shadow-utils on Fedora")
}
