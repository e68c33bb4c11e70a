// Package e2e proves llmhost on a real host: a VM with its own kernel, systemd and sshd,
// driven by the built command as a user would. Nothing here reads llmhost's internals: what
// a unit promises is read from /proc and from systemd, and what a deployment leaves behind
// from the file system.
package e2e

import (
	"os"
	"testing"

	"github.com/llmhost/llmhost/test/vmtest"
)

func TestMain(m *testing.M) { os.Exit(vmtest.Main(m, "e2e")) }

// project is a project with what only the stories of this package do.
type project struct{ *vmtest.Project }

func newProject(t *testing.T) *project {
	t.Helper()
	return &project{vmtest.NewProject(t)}
}
