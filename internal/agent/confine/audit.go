package confine

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// auditRule is a rule that watches a path, which is all that llmhost's rules do. Its key says
// whose it is.
var auditRule = regexp.MustCompile(`^-a always,exit -F arch=b64 -F (path|dir)=/[A-Za-z0-9._/@-]+ -F perm=wa -F key=(llmhost-[a-z]+)$`)

// auditKey is the key of a rule in what auditctl lists.
var auditKey = regexp.MustCompile(` -F key=(llmhost-[a-z]+)$`)

// auditCalls are the system calls that auditctl makes of a permission. Which they are depends on
// its version, and not on the rule.
var auditCalls = regexp.MustCompile(` -S [a-z0-9_,-]+`)

func validAudit(path, text string) error {
	if filepath.Dir(path) != "/etc/audit/rules.d" || filepath.Ext(path) != ".rules" {
		return fault.New(agentpb.Reason_INVALID, "%s is no place for audit rules, which is /etc/audit/rules.d/NAME.rules", path).With("path", path)
	}
	for _, rule := range rulesOf(text) {
		if !auditRule.MatchString(rule) {
			return fault.New(agentpb.Reason_INVALID, "%s: %q is no rule that watches a path", path, rule).With("path", path)
		}
	}
	return nil
}

func rulesOf(text string) []string {
	var rules []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			rules = append(rules, line)
		}
	}
	return rules
}

// loadAudit puts the rules into the kernel in place of those that llmhost had there. augenrules
// would do it too, and delete every rule that somebody has added by hand.
func loadAudit(ctx context.Context, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fault.OfPath("read", path, err)
	}
	if err := removeAudit(ctx, path); err != nil {
		return err
	}
	for _, rule := range rulesOf(string(text)) {
		if !auditRule.MatchString(rule) {
			continue // valid has refused it; the file was changed since
		}
		if _, err := run(ctx, nil, "auditctl", strings.Fields(rule)...); err != nil {
			return err
		}
	}
	return nil
}

func removeAudit(ctx context.Context, _ string) error {
	loaded, err := loadedRules(ctx)
	if err != nil {
		return err
	}
	var keys []string
	for _, rule := range loaded {
		if key := auditKey.FindStringSubmatch(rule)[1]; !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		if _, err := run(ctx, nil, "auditctl", "-D", "-k", key); err != nil {
			return err
		}
	}
	return nil
}

// loadedRules are llmhost's rules in the kernel.
func loadedRules(ctx context.Context) ([]string, error) {
	said, err := run(ctx, nil, "auditctl", "-l")
	if err != nil {
		return nil, err
	}
	var rules []string
	for line := range strings.Lines(said) {
		if line = auditCalls.ReplaceAllString(strings.TrimSpace(line), ""); auditKey.MatchString(line) {
			rules = append(rules, line)
		}
	}
	return rules, nil
}

func observeAudit(ctx context.Context, s *agentpb.ConfigurationState) error {
	loaded, err := loadedRules(ctx)
	if err != nil {
		return err
	}
	s.Loaded = len(loaded) > 0
	missing, added := differences(rulesOf(s.GetContent()), loaded)
	for _, rule := range missing {
		s.Changes = append(s.Changes, "not in the kernel: "+rule)
	}
	for _, rule := range added {
		s.Changes = append(s.Changes, "in the kernel and not in the file: "+rule)
	}
	return nil
}
