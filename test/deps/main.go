// Command deps installs what the tests need from the distribution's packages. It says what and
// why first, and where it may not install, it says what to run.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/llmhost/llmhost/internal/lab"
)

func main() {
	missing := lab.Missing(
		lab.Need{Command: "sshd", Package: "openssh-server", Why: "answers the SSH tests on loopback"},
		lab.Need{Command: "ssh-keygen", Package: "openssh-client", Why: "makes their keys"},
		lab.Need{Command: "systemd-analyze", Package: "systemd", Why: "scores and verifies units"},
		lab.Need{Command: "systemd-creds", Package: "systemd", Why: "seals credentials"},
		lab.Need{Command: "mkfs.ext4", Package: "e2fsprogs", Why: "makes a disk on which models change behind the host's back"},
		lab.Need{Command: "scp", Package: "openssh-client", Why: "is what pushes are compared with"},
		lab.Need{Command: "rsync", Package: "rsync", Why: "is what pushes are compared with"},
		lab.Need{Command: "ip", Package: "iproute2", Why: "makes networks for a slow link"},
	)
	if len(missing) == 0 {
		return
	}
	if err := lab.Install(context.Background(), missing, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
