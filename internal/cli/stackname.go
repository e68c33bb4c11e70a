package cli

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/llmhost/llmhost/internal/hostfile"
)

// stackVariable names the stack where -s doesn't, for the pulumi CLI as well as for llmhost.
const stackVariable = "PULUMI_STACK"

// stackPart is what Pulumi allows as the name of a stack, an organization or a project.
var stackPart = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)

// namedStack is the stack that -s or else PULUMI_STACK names, empty if neither does. A name ends
// up in paths, so one that could leave the project's folders is refused.
func namedStack(flag string) (string, error) {
	name := cmp.Or(flag, os.Getenv(stackVariable))
	if name == "" {
		return "", nil
	}
	from := "-s"
	if flag == "" {
		from = stackVariable
	}
	if base := path.Base(name); strings.HasSuffix(base, hostfile.Extension) {
		return "", fmt.Errorf("%s takes the name of a host and not of its file: %s", from, strings.TrimSuffix(base, hostfile.Extension))
	}
	parts := strings.Split(name, "/") // organization/project/stack is Pulumi's full name of a stack
	for _, part := range parts {
		if len(parts) > 3 || !stackPart.MatchString(part) || strings.Trim(part, ".") == "" {
			return "", fmt.Errorf("%q can't be the name of a host: %s takes the NAME of hosts/NAME%s, of letters, digits, hyphens, underscores and dots",
				name, from, hostfile.Extension)
		}
	}
	return name, nil
}
