package profile

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/hardening.md anew")

const page = "../../docs/hardening.md"

// The page's tables are the profiles, so that they can't lag behind.
func TestDocsAreFresh(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	fresh := string(text)
	for _, p := range All() {
		begin, end := fmt.Sprintf("<!-- profile %s -->\n", p.Name), fmt.Sprintf("<!-- end of profile %s -->\n", p.Name)
		before, rest, ok := strings.Cut(fresh, begin)
		_, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Errorf("%s has no place for the profile %s: %s…%s", page, p.Name, begin, end)
			continue
		}
		fresh = before + begin + table(p) + end + after
	}
	if fresh == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s isn't what the profiles say; write it with go test ./internal/profile -update", page)
	}
	if err := os.WriteFile(page, []byte(fresh), 0o644); err != nil {
		t.Fatal(err)
	}
}

func table(p *Profile) string {
	var b strings.Builder
	fmt.Fprintf(&b, "For %s. %s\n\n| directive | value | why |\n|---|---|---|\n", p.For, p.Assumes)
	for _, d := range p.Directives {
		var cells []string
		for _, v := range d.Values {
			if v == "" {
				v = " "
			}
			cells = append(cells, "`"+v+"`")
		}
		if d.From != "" {
			cells = append(cells, "set by `"+d.From+"`")
		}
		if len(cells) == 0 {
			cells = append(cells, "not set")
		}
		fmt.Fprintf(&b, "| `%s=` | %s | %s |\n", d.Name, strings.Join(cells, ", "), d.Why)
	}
	return b.String()
}

// The list: what every sandbox of a server has to say something about.
func TestModelServersHaveWhatTheReviewsAskFor(t *testing.T) {
	asked := []string{
		"NoNewPrivileges", "PrivateTmp", "ProtectSystem", "ProtectHome", "DevicePolicy", "PrivateDevices", "ProtectKernelTunables",
		"ProtectControlGroups", "LockPersonality", "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "MemoryMax", "CPUQuota",
		"LimitNOFILE", "LimitNPROC", "LimitAS", "LimitCORE", "IPAddressDeny", "IPAddressAllow", "SystemCallFilter", "CapabilityBoundingSet", "TasksMax",
	}
	p := ModelServer()
	for _, name := range asked {
		if p.Directive(name) == nil {
			t.Errorf("the profile %s says nothing of %s=", p.Name, name)
		}
	}
}

var sentence = regexp.MustCompile("^[`A-Z/].*\\.$")

func TestEveryDirectiveHasAReason(t *testing.T) {
	for _, p := range All() {
		if Get(p.Name).For != p.For || p.For == "" || !sentence.MatchString(p.Assumes) {
			t.Errorf("the profile %s doesn't say what it is for and what it assumes", p.Name)
		}
		seen := map[string]bool{}
		for _, d := range p.Directives {
			if !sentence.MatchString(d.Why) {
				t.Errorf("%s: %s= has the reason %q, which is no sentence", p.Name, d.Name, d.Why)
			}
			if seen[d.Name] {
				t.Errorf("%s has %s= twice", p.Name, d.Name)
			}
			seen[d.Name] = true
			if d.Words != nil && len(d.Values) > 0 && !slices.Contains(d.Words, d.Values[0]) {
				t.Errorf("%s: %s=%s isn't among its words %v", p.Name, d.Name, d.Values[0], d.Words)
			}
		}
	}
}

func TestRelaxationsAreReadBack(t *testing.T) {
	r := Relaxation{Directive: "SystemCallFilter", Values: []string{"@system-service", "~@privileged"}, Reason: "it pins threads, because = is fine"}
	got, ok := ParseRelaxation(r.String())
	if !ok || got.Directive != r.Directive || got.Reason != r.Reason || got.Values[0] != "@system-service ~@privileged" {
		t.Errorf("%q is read as %+v", r.String(), got)
	}
	for _, bad := range []string{"", "ProcSubset=all", "because", "ProcSubset because x"} {
		if r, ok := ParseRelaxation(bad); ok {
			t.Errorf("%q is read as %+v", bad, r)
		}
	}
}
