package templates

import (
	"fmt"
	"regexp"
)

// plainUser is a name that sudo reads as a user: its own words (ALL, aliases) are in capitals,
// and groups, ids and netgroups begin with a sign.
var plainUser = regexp.MustCompile(`^[a-z_][a-z0-9_-]*$`)

// SudoRule is the file in /etc/sudoers.d that lets a host's deploy user start the agent as
// root, and nothing else.
type SudoRule struct {
	User     string
	Launcher string // path of the program, absolute
}

// Text is the file. A user or a path that sudo could read as more than that is an error.
func (r SudoRule) Text() (string, error) {
	if !plainUser.MatchString(r.User) {
		return "", fmt.Errorf("the user %q can't stand in a sudo rule: use lower-case letters, digits, '_' and '-'", r.User)
	}
	if !plainPath.MatchString(r.Launcher) {
		return "", fmt.Errorf("the program %q can't stand in a sudo rule: use an absolute path of letters, digits, '.', '_' and '-'", r.Launcher)
	}
	return fill("sudoers.tmpl", r)
}
