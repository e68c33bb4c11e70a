package remote

// LauncherPath is the program that bootstrap installs on a host and that its deploy user
// may run as root without a password.
const LauncherPath = "/usr/local/lib/llmhost/agent-start"

// launcher is that program: the start script, with its words read from standard input.
//
// It narrows what the user can run by way of sudo to the start of an agent, which keeps
// accidents away and makes sudo's log readable. It is no cage: the user says which agent,
// and the agent does as root what it is told. Whoever holds the user's key holds the machine.
func launcher() string {
	return "#!/bin/sh\n# Written by llmhost bootstrap; do not edit. Starts llmhost's agent: reads its digest and\n# its size, and its bytes if they are not here yet.\n" +
		startScript + "\nread -r digest size rest || exit 1\nllmhost_start \"$digest\" \"$size\" " + DefaultStateDir + " 1\n"
}
