package exposure

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// verdict is what is compared: the score, and what each finding adds.
type verdict struct {
	Score    string
	Findings map[string]string
}

func ours(t *testing.T, text string) verdict {
	t.Helper()
	report, err := Of(text)
	if err != nil {
		t.Fatal(err)
	}
	v := verdict{Score: report.Score.String(), Findings: map[string]string{}}
	for _, f := range report.Findings {
		v.Findings[f.Name] = f.Points.String()
	}
	return v
}

var (
	badLine     = regexp.MustCompile(`^✗ (\S+) .* ([0-9]+\.[0-9])\s*$`)
	overallLine = regexp.MustCompile(`^→ Overall exposure level for (\S+): ([0-9]+\.[0-9]) (\S+)`)
)

// systemds is what the real systemd-analyze says of unit files, by name.
func systemds(t *testing.T, files []string) map[string]verdict {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); errors.Is(err, exec.ErrNotFound) {
		t.Fatal("this test compares with systemd-analyze: install the package systemd")
	}
	cmd := exec.Command("systemd-analyze", append([]string{"security", "--offline=true", "--no-pager"}, files...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_COLORS=0", "SYSTEMD_URLIFY=0", "LC_ALL=C.UTF-8")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("systemd-analyze: %v", err)
	}
	all := map[string]verdict{}
	findings := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if m := badLine.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			findings[m[1]] = m[2]
		}
		if m := overallLine.FindStringSubmatch(line); m != nil {
			all[m[1]] = verdict{m[2], findings}
			findings = map[string]string{}
		}
	}
	return all
}

// units are the service units that llmhost's components render.
func units(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../components/*/testdata/*.service")
	if err != nil || len(files) < 5 {
		t.Fatalf("there are few units to score: %v %v", files, err)
	}
	texts := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		// A word that older versions don't know, and that scores as yes does (test/runtimes has a newer one).
		texts[filepath.Base(f)] = strings.ReplaceAll(string(text), "PrivateTmp=disconnected", "PrivateTmp=yes")
	}
	return texts
}

// variants are other spellings and other values than llmhost writes, one line of [Service] each.
var variants = []string{
	"", "User=root", "User=nobody", "User=ops", "DynamicUser=yes", "DynamicUser=yes\nUser=root", "SupplementaryGroups=a b", "User=ops\nSupplementaryGroups=a\nSupplementaryGroups=",
	"PrivateDevices=true", "PrivateTmp=on", "ProtectSystem=full", "ProtectSystem=yes", "ProtectHome=tmpfs", "ProtectHome=read-only", "ProtectHome=1",
	"RootDirectory=/", "RootDirectory=/srv", "ProtectKernelModules=yes", "ProtectKernelLogs=yes", "ProtectClock=yes", "DevicePolicy=strict", "DevicePolicy=closed\nDeviceAllow=/dev/null rw",
	"CapabilityBoundingSet=", "CapabilityBoundingSet=~CAP_SYS_ADMIN CAP_KILL", "CapabilityBoundingSet=CAP_KILL", "CapabilityBoundingSet=CAP_KILL\nCapabilityBoundingSet=CAP_CHOWN",
	"CapabilityBoundingSet=CAP_KILL CAP_CHOWN\nCapabilityBoundingSet=~CAP_KILL", "CapabilityBoundingSet=CAP_KILL\nCapabilityBoundingSet=", "CapabilityBoundingSet=cap_bpf", "CapabilityBoundingSet=~",
	"AmbientCapabilities=CAP_KILL", "UMask=0000", "UMask=0022", "UMask=0027", "UMask=0007", "UMask=077", "UMask=0037",
	"KeyringMode=shared", "KeyringMode=inherit", "ProtectProc=noaccess", "ProtectProc=ptraceable", "NotifyAccess=all", "Type=notify", "Delegate=cpu memory", "Delegate=yes",
	"RestrictNamespaces=yes", "RestrictNamespaces=user mnt", "RestrictNamespaces=~user mnt", "RestrictNamespaces=user\nRestrictNamespaces=pid", "RestrictNamespaces=yes\nRestrictNamespaces=no",
	"RestrictAddressFamilies=AF_UNIX", "RestrictAddressFamilies=AF_INET6 AF_NETLINK", "RestrictAddressFamilies=none", "RestrictAddressFamilies=~AF_INET AF_PACKET",
	"RestrictAddressFamilies=AF_INET\nRestrictAddressFamilies=~AF_INET", "RestrictAddressFamilies=AF_VSOCK AF_UNIX", "RestrictAddressFamilies=AF_UNIX\nRestrictAddressFamilies=",
	"SystemCallArchitectures=x86 x86-64", "SystemCallArchitectures=native", "SystemCallFilter=@system-service", "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources",
	"SystemCallFilter=~@clock @mount", "SystemCallFilter=~@clock\nSystemCallFilter=settimeofday", "SystemCallFilter=read write", "SystemCallFilter=@system-service ptrace", "SystemCallFilter=@basic-io\nSystemCallFilter=",
	"SystemCallFilter=@system-service\nSystemCallFilter=~@resources:EPERM", "IPAddressDeny=any", "IPAddressDeny=0.0.0.0/0", "IPAddressDeny=any\nIPAddressAllow=localhost", "IPAddressDeny=any\nIPAddressAllow=10.0.0.0/8",
	"IPAddressDeny=any\nIPAddressAllow=127.0.0.1", "IPAddressDeny=any\nIPAddressDeny=", "IPAddressDeny=any\nIPAddressAllow=any", "IPAddressDeny=10.0.0.0/8", "IPAddressDeny=any\nIPAddressAllow=::1 link-local",
	"LoadCredentialEncrypted=key:/etc/key\nDevicePolicy=closed", "User=ops\nRemoveIPC=yes", "NoNewPrivileges=t", "MemoryDenyWriteExecute=y",
}

// The score is only worth something if it is systemd's: so it is compared for all that llmhost
// renders, for each of these units without each of its lines, and for spellings of every kind.
func TestScoresAreThoseOfSystemd(t *testing.T) {
	texts := units(t)
	for name, text := range maps.Clone(texts) {
		lines := strings.Split(text, "\n")
		service := slices.Index(lines, "[Service]")
		for i := service + 1; i < len(lines) && !strings.HasPrefix(lines[i], "["); i++ {
			if strings.HasPrefix(lines[i], "ExecStart=") || lines[i] == "" {
				continue
			}
			without := slices.Delete(slices.Clone(lines), i, i+1)
			texts[fmt.Sprintf("without-%d-%s", i, strings.ReplaceAll(name, "@", "-"))] = strings.Join(without, "\n")
		}
	}
	for i, v := range variants {
		texts[fmt.Sprintf("variant-%d.service", i)] = "[Service]\nExecStart=/bin/true\n" + v + "\n"
	}
	texts["early.service"] = "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/true\n"

	dir := t.TempDir()
	var files []string
	for name, text := range texts {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	theirs := systemds(t, files)
	if len(theirs) != len(files) {
		t.Fatalf("systemd-analyze has scored %d of %d units", len(theirs), len(files))
	}
	for name, text := range texts {
		if diff := cmp.Diff(theirs[name], ours(t, text)); diff != "" {
			t.Errorf("%s (-systemd +ours):\n%s\n%s", name, diff, text)
		}
	}
}

func TestDropInsCount(t *testing.T) {
	const text = "[Service]\nExecStart=/bin/true\nPrivateNetwork=yes\nCapabilityBoundingSet=\n"
	before, err := Of(text)
	if err != nil {
		t.Fatal(err)
	}
	after, err := Of(text, "[Service]\nPrivateNetwork=no\n", "[Service]\nNoNewPrivileges=yes\n")
	if err != nil {
		t.Fatal(err)
	}
	has := func(r Report, name string) bool {
		return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Name == name })
	}
	if has(before, "PrivateNetwork=") || !has(after, "PrivateNetwork=") || has(after, "NoNewPrivileges=") {
		t.Errorf("the drop-ins don't count: %v", after.Findings)
	}
	if _, err := Of(text, "[Service\n"); err == nil {
		t.Error("a drop-in that isn't one was scored")
	}
}

func TestFindingsComeHeaviestFirst(t *testing.T) {
	report, err := Of("[Service]\nExecStart=/bin/true\n")
	if err != nil {
		t.Fatal(err)
	}
	if report.Score.Level() != "UNSAFE" || report.Findings[0].Name != "PrivateNetwork=" {
		t.Errorf("a bare service is %s %s, and the worst of it %v", report.Score, report.Score.Level(), report.Findings[0])
	}
	if !slices.IsSortedFunc(report.Findings, func(a, b Finding) int { return b.Weight - a.Weight }) {
		t.Error("the findings aren't in the order of their weights")
	}
}
