package confine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// The one table that is llmhost's. No other is ever read or changed.
const (
	tableFamily = "inet"
	tableName   = "llmhost"
)

// replaceTable makes a ruleset replace the table as a whole, in the transaction that makes it: a
// table is declared so that it can be deleted.
const replaceTable = "table " + tableFamily + " " + tableName + "\ndelete table " + tableFamily + " " + tableName + "\n"

// validFirewall demands that a text holds the one table after the lines that replace it, and
// nothing else: nft would also flush the whole ruleset, include files, or change other tables.
func validFirewall(path, text string) error {
	refuse := func(what string) error {
		return fault.New(agentpb.Reason_INVALID, "%s %s: a firewall of llmhost's is the table %s %s and nothing else", path, what, tableFamily, tableName).With("path", path)
	}
	body, ok := strings.CutPrefix(text, replaceTable)
	if !ok {
		return refuse("doesn't begin with the lines that replace the table")
	}
	body, ok = strings.CutPrefix(body, "table "+tableFamily+" "+tableName+" {\n")
	if !ok {
		return refuse("has no table after them")
	}
	depth, quoted := 1, false
	for i, r := range body {
		switch {
		case r == '"':
			quoted = !quoted
		case quoted && r == '\n':
			return refuse("has a text that doesn't end on its line")
		case quoted:
		case r == '{':
			depth++
		case r == '}':
			depth--
		case r == '#', r == ';' && depth == 1, r == '\\', r == '\'':
			return refuse(fmt.Sprintf("has %q outside of a rule", r))
		}
		if depth == 0 && strings.TrimSpace(body[i+1:]) != "" {
			return refuse("goes on after the table")
		}
	}
	if depth != 0 || quoted {
		return refuse("ends within the table")
	}
	for line := range strings.Lines(body) {
		if words := strings.Fields(line); len(words) > 0 && words[0] == "include" {
			return refuse("includes a file")
		}
	}
	return nil
}

func checkFirewall(ctx context.Context, path string) error {
	_, err := run(ctx, nil, "nft", "--check", "--file", path)
	return err
}

func loadFirewall(ctx context.Context, path string) error {
	_, err := run(ctx, nil, "nft", "--file", path)
	return err
}

// snapshotFirewall is the table as it is in the kernel, "" when there is none.
func snapshotFirewall(ctx context.Context, _ string) (string, error) { return listTable(ctx) }

// restoreFirewall makes the table what it was. In one transaction, so that there is no moment
// without it.
func restoreFirewall(ctx context.Context, _, snapshot string) error {
	_, err := run(ctx, []byte(replaceTable+snapshot), "nft", "--file", "-")
	return err
}

func removeFirewall(ctx context.Context, _ string) error { return restoreFirewall(ctx, "", "") }

// listTable is nft's own form of the table, without the counters' values.
func listTable(ctx context.Context) (string, error) {
	tables, err := run(ctx, nil, "nft", "list", "tables", tableFamily)
	if err != nil {
		return "", err
	}
	if !hasLine(tables, "table "+tableFamily+" "+tableName) {
		return "", nil
	}
	return run(ctx, nil, "nft", "--stateless", "list", "table", tableFamily, tableName)
}

func hasLine(text, want string) bool {
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == want {
			return true
		}
	}
	return false
}

// observeFirewall compares the table in the kernel with the file. Both are put into nft's own
// form by this host's kernel and nft: the file is loaded in an empty network namespace for that,
// so that neither spelling nor versions make a difference, and rules do.
func observeFirewall(ctx context.Context, path string, s *agentpb.ConfigurationState) error {
	have, err := listTable(ctx)
	if err != nil {
		return err
	}
	s.Loaded = have != ""
	if !s.GetExists() {
		return nil
	}
	want, err := formOf(ctx, path)
	var refused *fault.Error
	switch {
	case errors.As(err, &refused) && refused.Reason == agentpb.Reason_REFUSED:
		s.Changes = []string{"nft refuses the file: " + refused.Message}
	case err != nil:
		return err
	case !s.Loaded:
		s.Changes = []string{"the table isn't loaded: somebody has flushed the ruleset or deleted the table"}
	default:
		s.Changes = compareTables(want, have)
	}
	return nil
}

// formOf is the nft's own form of a file.
func formOf(ctx context.Context, path string) (string, error) {
	type result struct {
		text string
		err  error
	}
	results := make(chan result, 1)
	go func() {
		// The thread isn't given back: it ends with the namespace.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			results <- result{err: fault.OfPath("make", "a network namespace", os.NewSyscallError("unshare", err))}
			return
		}
		err := loadFirewall(ctx, path)
		var text string
		if err == nil {
			text, err = listTable(ctx)
		}
		results <- result{text, err}
	}()
	r := <-results
	return r.text, r.err
}

// compareTables names the rules of one listing that the other lacks, chain by chain.
func compareTables(want, have string) []string {
	wanted, found := chainsOf(want), chainsOf(have)
	var changes []string
	for _, chain := range wanted.order {
		present, there := found.rules[chain]
		if !there {
			changes = append(changes, chain+" was removed")
			continue
		}
		missing, added := differences(wanted.rules[chain], present)
		for _, rule := range missing {
			changes = append(changes, fmt.Sprintf("%s: removed %q", chain, rule))
		}
		for _, rule := range added {
			changes = append(changes, fmt.Sprintf("%s: added %q", chain, rule))
		}
		if len(missing)+len(added) == 0 && strings.Join(wanted.rules[chain], "\n") != strings.Join(present, "\n") {
			changes = append(changes, chain+": the rules are in another order")
		}
	}
	for _, chain := range found.order {
		if _, known := wanted.rules[chain]; !known {
			changes = append(changes, chain+" was added")
		}
	}
	return changes
}

// listing is a table's chains and sets with their lines, in order.
type listing struct {
	order []string
	rules map[string][]string
}

func chainsOf(text string) listing {
	l := listing{rules: map[string][]string{}}
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "table "):
		case name == "" && strings.HasSuffix(line, " {"):
			name = strings.TrimSuffix(line, " {")
			l.order = append(l.order, name)
			l.rules[name] = nil
		case line == "}":
			name = ""
		case name != "":
			l.rules[name] = append(l.rules[name], line)
		}
	}
	return l
}

// differences are the elements of each list that the other lacks, as often as it lacks them.
func differences(a, b []string) (onlyA, onlyB []string) {
	count := map[string]int{}
	for _, s := range b {
		count[s]++
	}
	for _, s := range a {
		if count[s] > 0 {
			count[s]--
			continue
		}
		onlyA = append(onlyA, s)
	}
	for _, s := range b {
		if count[s] > 0 {
			count[s]--
			onlyB = append(onlyB, s)
		}
	}
	return onlyA, onlyB
}
