package runtimes

import (
	"strings"
	"testing"

	. "github.com/llmhost/llmhost/test/vmtest"
)

const guarded = `
  audit = true
  sshd {
    allow_users = ["ops", "root"]
  }
`

// One deployment with all that confines a host: what each forbids is tried, and what somebody
// changes by hand is named.
func TestAConfinedHost(t *testing.T) {
	p := NewProject(t)
	p.Host("confined", ModelServer("conf")+guarded+"  firewall {\n    policy = \"drop\"\n  }")
	p.Must("probe", "-s", "confined")
	p.Up("confined")
	p.DestroyAtEnd("confined")
	p.NoDrift("confined")

	t.Run("AppArmor", func(t *testing.T) {
		pid := On(t, "systemctl show -p MainPID --value llmhost-conf.service")
		if label := On(t, "cat /proc/"+pid+"/attr/current"); label != "llmhost-conf (enforce)" {
			t.Errorf("the server runs under the profile %q", label)
		}
		// The unit's sandbox lets its process read its engine's os-release; the profile doesn't. The
		// same unit tries it with the profile and without.
		const dropIn = "/run/systemd/system/llmhost-conf.service.d/try.conf"
		for _, try := range []struct{ profile, want string }{{"", "denied"}, {"AppArmorProfile=\\n", "allowed"}} {
			out := On(t, "touch $(systemctl show -p RootDirectory --value llmhost-conf.service)/etc/llmhost-try; mkdir -p $(dirname "+dropIn+"); printf '[Service]\\n"+try.profile+"ExecStartPre=-/run/llmhost-agent readable /etc/llmhost-try\\n' > "+dropIn+
				"; systemctl daemon-reload; journalctl --rotate -q; since=$(date +%s); systemctl restart llmhost-conf.service; sleep 1; journalctl -u llmhost-conf.service --since @$since -o cat | grep -q llmhost-try && echo denied || echo allowed")
			if out != try.want {
				t.Errorf("with the drop-in %q a file beyond the profile is %s, and should be %s", try.profile, out, try.want)
			}
		}
		if record := On(t, "sync; grep DENIED /var/log/audit/audit.log | grep llmhost-try | tail -1"); !strings.Contains(record, `apparmor="DENIED"`) || !strings.Contains(record, `profile="llmhost-conf"`) {
			t.Errorf("the kernel's record of the denial is %q", record)
		}
		On(t, "rm -r /run/systemd/system/llmhost-conf.service.d; rm -f /opt/llmhost/engines/*/etc/llmhost-try; systemctl daemon-reload; systemctl restart llmhost-conf.service")
		p.Must("ask", "-s", "confined", "Are you well?")
	})

	t.Run("audit", func(t *testing.T) {
		On(t, "touch /srv/models/.audited; rm /srv/models/.audited")
		if record := On(t, "ausearch -k llmhost-models --input-logs </dev/null 2>/dev/null | grep .audited | tail -1"); !strings.Contains(record, ".audited") {
			t.Errorf("the audit's record of a change of the models' folder is %q", record)
		}
	})

	t.Run("changed by hand", func(t *testing.T) {
		for _, c := range []struct{ line, kind, property string }{
			{"nft add rule inet llmhost input tcp dport 23 accept", "Firewall", "changes"},
			{"printf 'profile llmhost-conf flags=(attach_disconnected) {\\n  /** rwm,\\n  network,\\n  signal,\\n  unix,\\n}\\n' | apparmor_parser -r", "AppArmorProfile", "changes"},
			{"auditctl -D -k llmhost-sudo", "AuditRules", "changes"},
			{"echo 'PasswordAuthentication yes' > /etc/ssh/sshd_config.d/00-other.conf", "SshdConfig", "effective"},
		} {
			On(t, c.line)
			found := false
			report := p.Drift("confined")
			for _, f := range report {
				found = found || strings.HasSuffix(f.Type, ":"+c.kind) && strings.HasPrefix(f.Property, c.property)
			}
			if !found {
				t.Errorf("%s isn't reported as %s of %s: %+v", c.line, c.property, c.kind, report)
			}
		}
		On(t, "rm /etc/ssh/sshd_config.d/00-other.conf; nft flush ruleset")
		p.Up("confined", "--refresh")
		p.NoDrift("confined")
		if rules := On(t, "nft list table inet llmhost"); strings.Contains(rules, "dport 23") || !strings.Contains(rules, "policy drop") {
			t.Errorf("after the repair the table is\n%s", rules)
		}
	})
}

// A change that locks llmhost out is undone by the host, also when nobody is there to say so.
func TestALockOutIsUndone(t *testing.T) {
	p := NewProject(t)
	const narrow = "  firewall {\n    policy = \"drop\"\n    allow \"ssh\" {\n      port = 22\n      from = [\"192.0.2.0/24\"]\n    }\n  }"
	p.Host("lockout", narrow)
	p.Must("probe", "-s", "lockout")
	r := p.Run("up", "-s", "lockout", "--yes", "--skip-preview", "--non-interactive")
	if r.Code == 0 || !strings.Contains(r.All(), "was undone and the host is as it was before") {
		t.Fatalf("a firewall that locks llmhost out ended with %d:\n%s", r.Code, r.All())
	}
	if _, err := TryOn("nft list table inet llmhost"); err == nil {
		t.Error("the table is still there")
	}
	Absent(t, "/etc/llmhost/firewall.nft")
	Absent(t, "/etc/systemd/system/llmhost-undo.service")

	// sshd itself refuses what it can't read, before anything happens.
	p.Host("lockout", "  file \"/etc/ssh/sshd_config.d/20-x.conf\" {\n    content = \"NoSuchThing yes\\n\"\n  }")
	if r := p.Run("up", "-s", "lockout", "--yes", "--skip-preview", "--non-interactive"); r.Code == 0 || !strings.Contains(r.All(), "NoSuchThing") {
		t.Errorf("a file that sshd refuses ended with %d:\n%s", r.Code, r.All())
	}
	Absent(t, "/etc/ssh/sshd_config.d/20-x.conf")

	// The right one stays.
	p.Host("lockout", "  firewall {\n    policy = \"drop\"\n  }")
	p.Up("lockout")
	p.DestroyAtEnd("lockout")
	p.NoDrift("lockout")
}
