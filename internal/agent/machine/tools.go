package machine

import (
	"context"
	"os/exec"
	"regexp"
	"sync"
	"time"
)

// toolTimeout bounds one question to a program. Docker's first answer takes seconds on a slow host.
const toolTimeout = 30 * time.Second

// toolCommands ask programs for their version.
var toolCommands = map[string][]string{
	"docker":        {"docker", "--version"},
	"compose":       {"docker", "compose", "version", "--short"},
	"podman":        {"podman", "--version"},
	"nvidiaToolkit": {"nvidia-ctk", "--version"},
	"python":        {"python3", "--version"},
}

// toolVersion is the first thing in an answer that looks like a version.
var toolVersion = regexp.MustCompile(`\d+(\.\d+)+`)

// Tools returns the versions of the programs that servers in containers and in virtual
// environments need, by name, without what a distribution adds. What isn't there, or says
// nothing, is missing.
func Tools(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	versions := map[string]string{}
	for name, command := range toolCommands {
		asking.Go(func() {
			cmd := exec.CommandContext(ctx, command[0], command[1:]...)
			cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin", "HOME=/"}
			out, err := cmd.Output()
			if err != nil {
				return
			}
			if version := toolVersion.FindString(string(out)); version != "" {
				mu.Lock()
				defer mu.Unlock()
				versions[name] = version
			}
		})
	}
	asking.Wait()
	return versions
}
