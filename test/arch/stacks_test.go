package arch

import (
	"os/exec"
	"strings"
	"testing"
)

// The settings of the stacks that llmhost ships must open with anybody's key. Pulumi writes the
// salt of the first key into them, and a commit of that locks everybody else out.
func TestShippedStacksOpenWithAnyKey(t *testing.T) {
	for _, stack := range []string{"desktop", "vps", "lab"} {
		out, err := exec.Command("git", "-C", "../..", "grep", "--cached", "-h", "-c", "^encryption", "--", "stacks/Pulumi."+stack+".yaml").CombinedOutput()
		if err == nil {
			t.Errorf("stacks/Pulumi.%s.yaml is committed with the salt of one machine's key (%s)", stack, strings.TrimSpace(string(out)))
		}
	}
}
