package confinement

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/internal/hostfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

func parse(t *testing.T, text string) *hostfile.Host {
	t.Helper()
	h, diags := hostfile.Parse([]byte(text), "x.hcl")
	if err := hostfile.AsError(diags); err != nil {
		t.Fatal(err)
	}
	return h
}

// server is a host with a server on a port, and more blocks.
func server(blocks string) string {
	return `host "x" {
  ssh {
    address = "x.lan"
    port    = 2222
    user    = "ops"
  }
  engine "llama.cpp" {
    source = "/e.tar"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }
  model "tiny" {
    source = "/m.gguf"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }
  server "chat" {
    engine = "llama.cpp"
    model  = "tiny"
    memory = "1GiB"
    listen = "127.0.0.1:8002"
  }
` + blocks + "\n}\n"
}

const allows = `
    allow "lan" {
      port = 8443
      from = ["192.168.1.0/24", "fd00::/8", "10.0.0.7"]
    }
    allow "metrics" {
      port      = 9100
      protocol  = "udp"
      interface = "wg0"
    }
`

// What a firewall says is reviewed as the text that the kernel gets.
func TestFirewallsAreGolden(t *testing.T) {
	for name, test := range map[string]struct {
		block string
		facts *hostfile.Facts
	}{
		"accept":      {block: "  firewall {}"},
		"drop":        {block: "  firewall {\n    policy = \"drop\"\n" + allows + "  }", facts: &hostfile.Facts{SSHPorts: []int{22}}},
		"accept-some": {block: "  firewall {\n" + allows + "  }"},
		"narrow-ssh":  {block: "  firewall {\n    policy = \"drop\"\n    allow \"ssh\" {\n      port = 22\n      from = [\"192.0.2.0/24\"]\n    }\n  }", facts: &hostfile.Facts{SSHPorts: []int{22}}},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := NewFirewall(parse(t, server(test.block)), test.facts).Text()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".nft", text)
		})
	}
}

// SSH stays open on the port that sshd has, which isn't always the one that llmhost connects to.
func TestSSHStaysOpen(t *testing.T) {
	h := parse(t, server("  firewall {\n    policy = \"drop\"\n  }"))
	for want, facts := range map[string]*hostfile.Facts{
		"tcp dport 2222 accept": nil,
		"tcp dport 4022 accept": {SSHPorts: []int{4022}},
	} {
		text, err := NewFirewall(h, facts).Text()
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("%v; %q isn't in\n%s", err, want, text)
		}
	}
}

func TestSshdIsGolden(t *testing.T) {
	for name, block := range map[string]string{
		"closed": "  sshd {}",
		"open":   "  sshd {\n    password_authentication = true\n    keyboard_interactive = true\n    permit_root_login = \"no\"\n    allow_users = [\"ops\", \"me\"]\n  }",
	} {
		s := Sshd{parse(t, server(block)).Sshd}
		text, err := s.Text()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".conf", text)
		// What must be in force is what is written, in sshd's own words.
		for line := range strings.Lines(text) {
			keyword, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			if value == "prohibit-password" {
				value = "without-password"
			}
			if got := s.Effective()[strings.ToLower(keyword)]; got != value {
				t.Errorf("%s: %s is to be %q in force, not %q", name, keyword, got, value)
			}
		}
	}
}

func TestAuditRulesAreGolden(t *testing.T) {
	text, err := NewAuditRules(parse(t, server(`
  model "there" {
    source = "host:/data/there.gguf"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }`))).Text()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "audit.rules", text)
}

// A value that means more than itself in one of the languages is refused, whoever has let it
// through before.
func TestValuesThatMeanMoreAreRefused(t *testing.T) {
	for name, err := range map[string]error{
		"a rule's name":      refused(Firewall{Allows: []hostfile.Allow{{Name: `x" accept; flush ruleset`, Port: 1, Protocol: "tcp"}}}.Text()),
		"a rule's protocol":  refused(Firewall{Allows: []hostfile.Allow{{Name: "x", Port: 1, Protocol: "tcp accept #"}}}.Text()),
		"an interface":       refused(Firewall{Allows: []hostfile.Allow{{Name: "x", Port: 1, Protocol: "tcp", Interface: `e"; drop`}}}.Text()),
		"a user of sshd":     refused(Sshd{&hostfile.Sshd{AllowUsers: []string{"*"}}}.Text()),
		"a user and a line":  refused(Sshd{&hostfile.Sshd{AllowUsers: []string{"a\nPermitRootLogin yes"}}}.Text()),
		"an audited path":    refused(AuditRules{{"/srv/a b", true, "llmhost-models"}}.Text()),
		"a path that climbs": refused(AuditRules{{"/srv/../etc", true, "llmhost-models"}}.Text()),
		"a profile's name":   refused(Profile{Name: "docker-default"}.Text()),
		"a profile's path":   refused(Profile{Name: "llmhost-a", Rules: []Rule{{"/srv/a, /etc/shadow", Read}}}.Text()),
		"a profile's socket": refused(Profile{Name: "llmhost-a", Network: []string{"packet raw"}}.Text()),
		"a profile's peer":   refused(Profile{Name: "llmhost-a", Peers: []string{"*"}}.Text()),
	} {
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func refused(_ string, err error) error { return err }

func TestTheFirewallsUnitIsGolden(t *testing.T) {
	text, err := FirewallUnit().Text()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, FirewallUnitName, text)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with go test -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; accept with go test -update):\n%s", file, diff)
	}
}
