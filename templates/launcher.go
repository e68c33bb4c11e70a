package templates

import (
	"fmt"
	"regexp"
)

// plainPath is an absolute path that neither a shell nor sudo reads as anything but itself.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)

// Launcher is the program that starts the agent on a host which bootstrap has prepared: a
// shell script that reads on standard input which agent it is to start.
type Launcher struct {
	StartScript string // defines llmhost_start, ends with a line feed
	StateDir    string // the agent's folder for its state, absolute
}

// Text is the script. A state folder that a shell could misread is an error.
func (l Launcher) Text() (string, error) {
	if !plainPath.MatchString(l.StateDir) {
		return "", fmt.Errorf("the state folder %q can't stand in a shell script: use an absolute path of letters, digits, '.', '_' and '-'", l.StateDir)
	}
	return fill("agent-start.tmpl", l)
}
