package remote

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/remote/agentbin"
)

// The scripts are fixed. What is added to them is a digest in hex, a size, a flag, the
// launcher's path, and a state folder that statePath has let through.
var (
	//go:embed greet.sh
	greetScript string
	//go:embed start.sh
	startScript string
)

const (
	scriptMagic = "LLMHOST/"
	scriptLines = "LLMHOST/1 "
	agentMagic  = "llmhost-agent-ready "

	// maxNoise is how much a login shell's start-up files may say before the script does.
	maxNoise = 64 << 10
	// startTimeout limits everything but the sending of the binary, which is limited by
	// its progress.
	startTimeout = 60 * time.Second
)

// starter puts the agent on a host and starts it.
type starter struct {
	host    string // for errors
	options Options
	state   string
}

// start returns the agent's pipe, right behind its first line.
func (s starter) start(ctx context.Context, l link) (*pipe, error) {
	p, err := l.shell(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, cancelled(ctx, s.host, "starting the agent")
		}
		if isDone(l) {
			return nil, lost(s.host, "start the agent", firstError(l.cause(), err))
		}
		return nil, newError(ErrStart, s.host, "start the agent", "the SSH server gives no channel to start the agent on",
			"set MaxSessions in its sshd_config to 10, its default", err)
	}
	// Whatever happens from here on, a hanging host must not hold the caller.
	watch := newClock(startTimeout, p.kill)
	defer watch.stop()
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()

	d := &dialogue{starter: s, process: p, lines: bufio.NewReader(p.stdout), watch: watch}
	if err := d.run(ctx); err != nil {
		p.kill()
		switch {
		case ctx.Err() != nil:
			return nil, cancelled(ctx, s.host, "starting the agent")
		case watch.ran():
			return nil, newError(ErrStart, s.host, "start the agent", fmt.Sprintf("the agent did not start within %s", startTimeout), "", err)
		case isDone(l):
			return nil, lost(s.host, "start the agent", firstError(l.cause(), err))
		}
		return nil, err
	}
	return &pipe{process: p, reader: d.lines}, nil
}

func isDone(l link) bool {
	select {
	case <-l.done():
		return true
	default:
		return false
	}
}

// dialogue is the conversation with the scripts.
type dialogue struct {
	starter
	process *process
	lines   *bufio.Reader
	watch   *clock
	noise   []string // what came before the script's lines, for the error
	user    string   // the login user
	way     string   // to become root: shell (is root already), sudo, launcher, none
}

func (d *dialogue) run(ctx context.Context) error {
	stay, fallback := "0", "1"
	if d.options.Unprivileged {
		stay, fallback = "1", "0"
	}
	d.send(greetScript + "llmhost_greet " + stay + " " + LauncherPath + "\n")
	binary, err := d.greeted(ctx)
	if err != nil {
		return err
	}
	size := strconv.Itoa(len(binary.Content))
	switch d.way {
	case "launcher":
		if d.state != DefaultStateDir {
			return d.fail(ErrSudo, fmt.Sprintf("the user may start the agent for %s only, and not for %s", DefaultStateDir, d.state), "leave the state folder as it is")
		}
		d.send(binary.SHA256 + " " + size + "\n")
	default:
		d.send(startScript + "llmhost_start " + binary.SHA256 + " " + size + " " + d.state + " " + fallback + "\n")
	}
	for {
		line, err := d.next()
		if err != nil {
			return d.silent(err)
		}
		if number, ok := strings.CutPrefix(line, agentMagic); ok {
			if number != strconv.Itoa(agentpb.Protocol) {
				return d.fail(ErrProtocol, fmt.Sprintf("the agent speaks protocol %s and this llmhost speaks %d", number, agentpb.Protocol), "use one version of llmhost")
			}
			return nil
		}
		verb, rest, _ := strings.Cut(strings.TrimPrefix(line, scriptLines), " ")
		switch verb {
		case "send":
			if err := d.upload(binary); err != nil {
				return err
			}
		case "error":
			return d.scriptError(rest)
		default:
			return d.fail(ErrStart, fmt.Sprintf("the start script said %q", line), "")
		}
	}
}

// greeted reads what kind of machine it is and gets the agent for it.
func (d *dialogue) greeted(ctx context.Context) (agentbin.Binary, error) {
	line, err := d.next()
	if err != nil {
		return agentbin.Binary{}, d.silent(err)
	}
	words := strings.Fields(strings.TrimPrefix(line, scriptLines))
	if len(words) != 5 || words[0] != "host" {
		return agentbin.Binary{}, d.fail(ErrStart, fmt.Sprintf("the host said %q where it should have said what it is", line), "")
	}
	system, machine := words[1], words[2]
	d.way, d.user = words[3], words[4]
	arch, ok := architectures[machine]
	if system != "Linux" || !ok {
		return agentbin.Binary{}, d.fail(ErrArchitecture, fmt.Sprintf("the host is %s on %s; llmhost runs on Linux on x86_64 and aarch64", system, machine), "")
	}
	if d.way == "none" {
		return agentbin.Binary{}, d.fail(ErrSudo, "the login user is not root and there is no sudo", "install sudo there, or log in as root with a key")
	}
	d.watch.stop() // building the agent may take a while and has nothing to do with the host
	binary, err := d.options.AgentBinary(ctx, arch)
	d.watch.restart()
	if err != nil {
		return agentbin.Binary{}, newError(ErrNoAgent, d.host, "start the agent", err.Error(), "", err)
	}
	return binary, nil
}

// architectures maps `uname -m` to Go's names.
var architectures = map[string]string{"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

// send does not look at its error: when the host has ended, what it said tells why, and
// that is read next.
func (d *dialogue) send(text string) { _, _ = io.WriteString(d.process.stdin, text) }

// upload sends the binary. Time is allowed for as long as bytes go out.
func (d *dialogue) upload(binary agentbin.Binary) error {
	d.options.Log(fmt.Sprintf("%s: sending the agent (%.1f MB)", d.host, float64(len(binary.Content))/1e6))
	const piece = 256 << 10
	for rest := binary.Content; len(rest) > 0; {
		n := min(piece, len(rest))
		d.watch.restart()
		if _, err := d.process.stdin.Write(rest[:n]); err != nil {
			// The script has ended, and why is the next thing that it has said.
			line, readErr := d.next()
			if text, ok := strings.CutPrefix(line, scriptLines+"error "); ok && readErr == nil {
				return d.scriptError(text)
			}
			return d.silent(err)
		}
		rest = rest[n:]
	}
	d.watch.restart()
	return nil
}

// next is the script's or the agent's next line; whatever else the host prints is skipped.
func (d *dialogue) next() (string, error) {
	skipped := 0
	for {
		raw, err := d.lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
		line := strings.TrimRight(string(raw), "\r\n")
		if strings.HasPrefix(line, scriptLines) || strings.HasPrefix(line, agentMagic) {
			return line, nil
		}
		if strings.HasPrefix(line, scriptMagic) {
			return "", d.fail(ErrProtocol, "the host's start script is of another version of llmhost", "run `llmhost bootstrap` again")
		}
		if skipped += len(raw); skipped > maxNoise {
			return "", d.fail(ErrStart, "the host's login shell prints without end", "look at the start-up files of that user there")
		}
		if line != "" && len(d.noise) < 3 {
			d.noise = append(d.noise, line)
		}
	}
}

func (d *dialogue) fail(kind error, message, hint string) *Error {
	return newError(kind, d.host, "start the agent", message, hint, nil)
}

// silent is for a host that ended the conversation: what it printed says why.
func (d *dialogue) silent(cause error) error {
	var ours *Error
	if errors.As(cause, &ours) {
		return ours
	}
	select { // its last words may still be on the way
	case <-d.process.exited:
	case <-time.After(time.Second):
	}
	said := d.process.stderr.String()
	if d.way == "sudo" || d.way == "launcher" {
		for _, sign := range []string{"password is required", "terminal is required", "have a tty", "not allowed", "not in the sudoers", "may not run", "sudo: "} {
			if strings.Contains(said, sign) {
				return newError(ErrSudo, d.host, "start the agent", "the login user may not become root without a password ("+lastLine(said)+")",
					"run `llmhost bootstrap`, or allow it there with `visudo`: "+firstOf(d.user, "USER")+" ALL=(root) NOPASSWD: /bin/sh", nil)
			}
		}
	}
	if said == "" {
		said = strings.Join(d.noise, "; ")
	}
	if said == "" {
		said = cause.Error()
	}
	return newError(ErrStart, d.host, "start the agent", "the host ended the start of the agent: "+lastLine(said), "can the user log in there and use /bin/sh?", cause)
}

// scriptError puts the script's words into sentences.
func (d *dialogue) scriptError(text string) error {
	code, detail, _ := strings.Cut(text, " ")
	switch code {
	case "no-tool":
		return d.fail(ErrStart, fmt.Sprintf("the program %q is missing on the host", detail), "install coreutils there")
	case "no-space":
		e := d.fail(ErrStart, "there is no space for the agent under "+detail, "free at least 32 MB there")
		e.Reason, e.Path = agentpb.Reason_NO_SPACE, detail
		return e
	case "read-only":
		e := d.fail(ErrStart, "the file system of "+detail+" is read-only", "remount it for writing")
		e.Reason, e.Path = agentpb.Reason_READ_ONLY, detail
		return e
	case "noexec":
		return d.fail(ErrStart, "no folder on the host lets a program run; the last one tried was "+detail, "mount one of /var, /run and /opt without noexec")
	case "foreign-folder":
		return d.fail(ErrStart, "the folder "+detail+" belongs to another user", "look at who made it, and remove it")
	case "digest":
		return d.fail(ErrStart, "the agent did not arrive as it was sent (its digest there is "+detail+")", "is the connection or the disk faulty?")
	case "does-not-run":
		return d.fail(ErrStart, "the agent does not run on the host: "+detail, "")
	default:
		return d.fail(ErrStart, "the host can't take the agent: "+text, "")
	}
}

// lastLine is the end of what a program said, short enough for an error.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	last := []rune(lines[len(lines)-1])
	return string(last[:min(len(last), 300)])
}
