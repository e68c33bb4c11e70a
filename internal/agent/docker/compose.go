package docker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// Compose is Docker Compose for one project on the host.
type Compose struct {
	Socket  string
	Project string
	Folder  string // of the project's files
	File    string
	EnvFile string
	// Nowhere is a folder that isn't there: Docker's client would otherwise read root's own
	// configuration, which may name another Docker.
	Nowhere string
}

// composeTimeout bounds one run: the making and starting of containers, not their readiness.
const composeTimeout = 15 * time.Minute

// maxSaid is how much of what a tool has said is kept for an error, in bytes.
const maxSaid = 4 << 10

// Check has Compose read a text of the file, and is INVALID with its words when it refuses it.
func (c Compose) Check(ctx context.Context, content, env string) error {
	file, err := os.CreateTemp("", "llmhost-env-")
	if err != nil {
		return fault.OfPath("write", os.TempDir(), err)
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(env)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fault.OfPath("write", file.Name(), err)
	}
	check := c
	check.File, check.EnvFile, check.Folder = "-", file.Name(), "/"
	err = check.run(ctx, strings.NewReader(content), nil, "config", "--quiet")
	var said *failure
	if errors.As(err, &said) {
		return fault.New(agentpb.Reason_INVALID, "Docker Compose would not take the project %s: %s", c.Project, said.words).With("project", c.Project)
	}
	return err
}

// Up makes the containers as the file says, and starts them. Images are never pulled here: which
// bytes come to the host is decided elsewhere.
func (c Compose) Up(ctx context.Context, say func(string)) error {
	return c.run(ctx, nil, say, "up", "--detach", "--no-build", "--pull", "never", "--remove-orphans")
}

// RemoveServices removes the containers of services, so that they are made anew.
func (c Compose) RemoveServices(ctx context.Context, say func(string), services ...string) error {
	return c.run(ctx, nil, say, append([]string{"rm", "--stop", "--force"}, services...)...)
}

// Down removes all containers and networks of the project.
func (c Compose) Down(ctx context.Context) error {
	return c.run(ctx, nil, nil, "down", "--remove-orphans")
}

// failure is a run that ended with an error.
type failure struct {
	verb  string
	words string
}

func (f *failure) Error() string { return fmt.Sprintf("docker compose %s: %s", f.verb, f.words) }

// run runs docker compose with arguments that are all its own or paths and names that were
// checked. The file is left out when it isn't there: a project is then known by its containers.
func (c Compose) run(ctx context.Context, in io.Reader, say func(string), args ...string) error {
	tool, err := exec.LookPath("docker")
	if err != nil {
		return fault.New(agentpb.Reason_NO_TOOL, "Docker isn't there: the host has no program docker").With("tool", "docker").
			Hint("install Docker and its Compose plugin on the host")
	}
	ctx, cancel := context.WithTimeout(ctx, composeTimeout)
	defer cancel()
	fixed := []string{"compose", "--progress", "plain", "--project-name", c.Project, "--project-directory", c.Folder}
	if c.File != "" {
		fixed = append(fixed, "--file", c.File, "--env-file", c.EnvFile)
	}
	cmd := exec.CommandContext(ctx, tool, append(fixed, args...)...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=" + c.Nowhere, "DOCKER_CONFIG=" + c.Nowhere, "DOCKER_HOST=unix://" + c.Socket}
	cmd.Stdin = in
	// Compose ends what it is doing when it is told to, and is killed when it doesn't.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	var said bytes.Buffer
	out := &lines{each: say, keep: &said}
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	out.flush()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(err, &exit):
		return fmt.Errorf("run docker compose: %w", err)
	}
	words := lastWords(said.String())
	if strings.Contains(words, "is not a docker command") || strings.Contains(words, "unknown flag: --project-name") {
		return fault.New(agentpb.Reason_NO_TOOL, "Docker Compose isn't there: docker has no plugin compose").With("tool", "docker compose").
			Hint("install Docker's Compose plugin on the host")
	}
	return &failure{verb: args[0], words: words}
}

// lastWords are the last lines, which say what went wrong; those before are progress.
func lastWords(said string) string {
	var kept []string
	scanner := bufio.NewScanner(strings.NewReader(said))
	for scanner.Scan() {
		if line := strings.TrimSpace(scanner.Text()); line != "" {
			kept = append(kept, line)
		}
	}
	const most = 4
	return strings.ToValidUTF8(strings.Join(kept[max(0, len(kept)-most):], "; "), "?")
}

// lines hands on what is written to it line by line, and keeps the end of it.
type lines struct {
	each    func(string)
	keep    *bytes.Buffer
	partial []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.partial = append(l.partial, p...)
	for {
		end := bytes.IndexByte(l.partial, '\n')
		if end < 0 {
			return len(p), nil
		}
		l.line(string(l.partial[:end]))
		l.partial = l.partial[end+1:]
	}
}

func (l *lines) flush() {
	if len(l.partial) > 0 {
		l.line(string(l.partial))
		l.partial = nil
	}
}

func (l *lines) line(s string) {
	l.keep.WriteString(s + "\n")
	if over := l.keep.Len() - maxSaid; over > 0 {
		l.keep.Next(over)
	}
	if s = strings.TrimSpace(s); s != "" && l.each != nil {
		l.each(strings.ToValidUTF8(s, "?"))
	}
}
