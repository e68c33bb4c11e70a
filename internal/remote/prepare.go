package remote

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

var (
	//go:embed ascend.sh
	ascendScript string
	//go:embed prepare.sh
	prepareScript string
)

// Preparation is what Prepare makes on a machine.
type Preparation struct {
	User      string // the deploy user
	PublicKey string // authorized_keys form; options and comment are dropped
	// Password asks for the administrator's password for sudo, if sudo wants one. Nil: on
	// the terminal.
	Password func(ctx context.Context, prompt string) (string, error)
	// Step receives what was done: made is false for what was there already.
	Step func(made bool, what string)
}

var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)

const prepareTimeout = 2 * time.Minute

// Prepare makes a plain machine ready for Dial: a user, its key, the launcher of the agent
// and the sudo rule for it. It logs in as an administrator: root, or a user that may use
// sudo, with or without a password. What is there already is left as it is.
func Prepare(ctx context.Context, admin Target, o Options, p Preparation) error {
	if err := admin.validate(); err != nil {
		return err
	}
	if admin.Local {
		return newError(ErrTarget, admin.HostID, "bootstrap", "this machine itself needs no preparation", "run llmhost as root, or as a user that may use sudo", nil)
	}
	if !userName.MatchString(p.User) || p.User == "root" {
		return newError(ErrTarget, admin.HostID, "bootstrap", fmt.Sprintf("%q can't be the deploy user's name", p.User), "use lower-case letters, digits, '_' and '-'", nil)
	}
	files, err := filesFor(p.User)
	if err != nil {
		return newError(ErrTarget, admin.HostID, "bootstrap", "the files for the host can't be made: "+err.Error(), "", err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(p.PublicKey))
	if err != nil {
		return newError(ErrTarget, admin.HostID, "bootstrap", "the public key is none", "it looks like: ssh-ed25519 AAAA…", err)
	}
	if p.Password == nil {
		p.Password = PromptOnTerminal
	}
	if p.Step == nil {
		p.Step = func(bool, string) {}
	}
	admin.User = firstOf(admin.User, currentUser())
	o = o.withDefaults()
	link, err := connector{target: admin, options: o}.connect(ctx)
	if err != nil {
		return err
	}
	defer link.close()
	process, err := link.shell(ctx)
	if err != nil {
		return newError(ErrUnreachable, admin.HostID, "bootstrap", "the host gives no channel: "+err.Error(), "", err)
	}
	defer process.kill()
	stop := context.AfterFunc(ctx, process.kill)
	defer stop()

	host := firstOf(admin.HostID, admin.Address)
	d := &dialogue{
		starter: starter{host: host, options: o},
		process: process,
		lines:   bufio.NewReader(process.stdout),
		watch:   newClock(prepareTimeout, process.kill),
		way:     "sudo",
	}
	defer d.watch.stop()
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	if err := d.prepare(ctx, admin, p, public, files); err != nil {
		if ctx.Err() != nil {
			return cancelled(ctx, host, "bootstrap")
		}
		return err
	}
	return nil
}

// prepared are the files that a preparation places.
type prepared struct{ rule, launcher string }

func filesFor(user string) (files prepared, err error) {
	if files.rule, err = sudoRule(user); err != nil {
		return files, err
	}
	files.launcher, err = launcher()
	return files, err
}

// prepare is the conversation with the two scripts.
func (d *dialogue) prepare(ctx context.Context, admin Target, p Preparation, public string, files prepared) error {
	d.send(ascendScript + "llmhost_ascend \"$(cat <<'LLMHOST_PREPARE'\n" + prepareScript + "LLMHOST_PREPARE\n)\"\n")
	for {
		line, err := d.next()
		if errors.Is(err, io.EOF) {
			return d.silent(err)
		}
		if err != nil {
			return err
		}
		verb, rest, _ := strings.Cut(strings.TrimPrefix(line, scriptLines), " ")
		switch verb {
		case "password":
			word, err := d.watch.paused(p.Password)(ctx, fmt.Sprintf("Password of %s for sudo on %s: ", admin.User, admin.Address))
			if err != nil {
				return newError(ErrSudo, d.host, "bootstrap", "sudo wants a password: "+err.Error(), "", err)
			}
			d.send(word + "\n")
		case "admin":
			d.send(fmt.Sprintf("LLMHOST-BEGIN\n%s\n%s\n%sLLMHOST-END\n%s\n%d\n%s",
				p.User, public, files.rule, LauncherPath, len(files.launcher), files.launcher))
		case "step":
			did, what, _ := strings.Cut(rest, " ")
			p.Step(did == "made", what)
		case "done":
			return nil
		case "error":
			return d.prepareError(rest, admin)
		default:
			return d.fail(ErrStart, fmt.Sprintf("the preparation said %q", line), "")
		}
	}
}

func (d *dialogue) prepareError(text string, admin Target) error {
	code, detail, _ := strings.Cut(text, " ")
	switch code {
	case "no-sudo":
		return d.fail(ErrSudo, "there is no sudo on the host", "install it there, or use --admin-user root")
	case "sudo":
		why := lastLine(d.process.stderr.String())
		return d.fail(ErrSudo, fmt.Sprintf("%s may not use sudo, or the password is wrong (%s)", admin.User, why), "use --admin-user with an administrator")
	case "tool":
		return d.fail(ErrStart, fmt.Sprintf("the program %q is missing on the host", detail), "install it there (packages coreutils, passwd, sudo, util-linux)")
	default:
		return d.fail(ErrStart, detail, "")
	}
}
