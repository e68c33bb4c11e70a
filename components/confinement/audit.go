package confinement

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/modelfile"
)

// AuditPath is where the host keeps its audit rules for the next boot.
const AuditPath = "/etc/audit/rules.d/60-llmhost.rules"

// Watched is something whose changes the kernel records.
type Watched struct {
	Path   string
	Folder bool   // with all that is in it
	Key    string // llmhost-WHAT, by which ausearch finds the records
}

// AuditRules are what a host's audit watches.
type AuditRules []Watched

// NewAuditRules watches what decides what a host's model servers do: models, programs, units, and
// who may change all that. A folder must be there when its rule is loaded, so a host's own ones
// come in only if something is placed there.
func NewAuditRules(h *hostfile.Host) AuditRules {
	rules := AuditRules{
		{"/var/lib/llmhost", true, "llmhost-state"},
		{"/etc/systemd/system", true, "llmhost-units"},
		{"/etc/sudoers", false, "llmhost-sudo"},
		{"/etc/sudoers.d", true, "llmhost-sudo"},
	}
	if len(h.Models) > 0 {
		rules = append(rules, Watched{h.ModelsPath, true, "llmhost-models"}, Watched{"/etc/llmhost", true, "llmhost-models"}, Watched{"/usr/local/lib/llmhost", true, "llmhost-programs"})
	}
	for i := range h.Models {
		if m := &h.Models[i]; m.Source.Kind == modelfile.Host {
			rules = append(rules, Watched{h.ModelFile(m), m.Source.Folder, "llmhost-models"})
		}
	}
	for i := range h.Engines {
		if form := h.Engines[i].Form(); form == hostfile.FormArchive || form == hostfile.FormVenv {
			rules = append(rules, Watched{"/opt/llmhost", true, "llmhost-programs"})
			break
		}
	}
	slices.SortFunc(rules, func(a, b Watched) int { return strings.Compare(a.Path, b.Path) })
	return rules
}

var auditPath = regexp.MustCompile(`^/[A-Za-z0-9._/@-]+$`)

// Text renders the rules as auditctl reads them. Writing and changing attributes are recorded;
// reading isn't, since a server reads its model all the time.
func (r AuditRules) Text() (string, error) {
	var b strings.Builder
	for _, w := range r {
		if !auditPath.MatchString(w.Path) || path.Clean(w.Path) != w.Path {
			return "", fmt.Errorf("the path %q can't stand in an audit rule", w.Path)
		}
		what := "path"
		if w.Folder {
			what = "dir"
		}
		fmt.Fprintf(&b, "-a always,exit -F arch=b64 -F %s=%s -F perm=wa -F key=%s\n", what, w.Path, w.Key)
	}
	return b.String(), nil
}
