package remote

import "github.com/llmhost/llmhost/templates"

// LauncherPath is the program that bootstrap installs on a host and that its deploy user
// may run as root without a password.
const LauncherPath = "/usr/local/lib/llmhost/agent-start"

// launcher is that program: the start script, with its words read from standard input.
//
// It narrows what the user can run by way of sudo to the start of an agent, which keeps
// accidents away and makes sudo's log readable. It is no cage: the user says which agent,
// and the agent does as root what it is told. Whoever holds the user's key holds the machine.
func launcher() (string, error) {
	return templates.Launcher{StartScript: startScript, StateDir: DefaultStateDir}.Text()
}

// sudoRule is what lets a user run it.
func sudoRule(user string) (string, error) {
	return templates.SudoRule{User: user, Launcher: LauncherPath}.Text()
}
