// Package contained is what the agent's program does inside a container: it starts the server, and
// asks it whether it works.
//
// It exists because an image of an engine need hold neither a shell nor curl, and because what a
// unit of systemd does around a server nobody does in a container: Docker leaves the socket of the
// last start where it was, which the next one can't bind, and knows no umask, so that the group
// couldn't open it. The program is mounted read-only and runs as the server's user.
package contained

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/watch"
)

// groupMayOpen is the umask of a server: its socket is for its user and its group.
const groupMayOpen = 0o007

// Start becomes a program that is to make a socket. It only returns when it can't.
func Start(socket string, readable []string, program []string) error {
	if err := watch.Readable(readable); err != nil {
		return err
	}
	is, err := os.Lstat(socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("look for the socket of the last start: %w", err)
	case is.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket", socket)
	default:
		if err := os.Remove(socket); err != nil {
			return fmt.Errorf("remove the socket of the last start: %w", err)
		}
	}
	unix.Umask(groupMayOpen)
	path, err := exec.LookPath(program[0])
	if err != nil {
		return fmt.Errorf("the image has no program %s: name its own by executable in the engine's block (%w)", program[0], err)
	}
	return fmt.Errorf("start %s: %w", path, unix.Exec(path, program, os.Environ()))
}
