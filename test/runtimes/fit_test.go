package runtimes

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/fit"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/testmodel"
	"github.com/llmhost/llmhost/test/vmtest"
)

// turns are two servers that take turns on one address. Their memory follows from the model's shape, which pin writes.
func turns(t *testing.T, p *vmtest.Project) {
	t.Helper()
	model := filepath.Join(t.TempDir(), "turns.gguf")
	f, err := os.Create(model)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := testmodel.Write(f, testmodel.Spec{Name: "turns", Layers: 4, Width: 256, Hidden: 512, Heads: 8, KVHeads: 4}); err != nil {
		t.Fatal(err)
	}
	server := func(name string) string {
		return fmt.Sprintf(`
  server %q {
    engine    = "llama.cpp"
    model     = "turns"
    listen    = "127.0.0.1:8123"
    threads   = 1
    context   = 1000
    exclusive = "large"
  }`, name)
	}
	p.Host("turns", fmt.Sprintf(`
  engine "llama.cpp" {
    source = %q
    sha256 = %q
  }
  model "turns" {
    source = %q
  }`, vmtest.VM.EngineArchive, vmtest.VM.EngineSHA256, model)+server("turn-a")+server("turn-b"))
	p.Must("pin", "-s", "turns")
}

func running(t *testing.T) []string {
	t.Helper()
	var units []string
	for _, name := range []string{"turn-a", "turn-b"} {
		if state, _ := vmtest.TryOn("systemctl is-active llmhost-" + name + ".service"); strings.TrimSpace(state) == "active" {
			units = append(units, name)
		}
	}
	return units
}

// Servers that take turns: the first runs, another takes its place and gives it back when it doesn't work, which of them runs is no
// drift, and that none does is. What a server needs is what llmhost says that it needs.
func TestServersTakeTurns(t *testing.T) {
	p := vmtest.NewProject(t)
	turns(t, p)
	p.DestroyAtEnd("turns")
	p.Up("turns")
	if got := running(t); !slices.Equal(got, []string{"turn-a"}) {
		t.Fatalf("after the deployment %v run", got)
	}
	p.NoDrift("turns")

	t.Run("the estimate is the server's own", func(t *testing.T) { estimate(t, p) })

	p.Must("switch", "turn-b", "-s", "turns")
	if got := running(t); !slices.Equal(got, []string{"turn-b"}) {
		t.Fatalf("after the switch %v run", got)
	}
	p.NoDrift("turns")

	// A server that doesn't start gives the place back.
	vmtest.On(t, "mkdir -p /run/systemd/system/llmhost-turn-a.service.d && printf '[Service]\\nExecStartPre=/bin/false\\n' >/run/systemd/system/llmhost-turn-a.service.d/broken.conf && systemctl daemon-reload")
	r := p.Run("switch", "turn-a", "-s", "turns")
	vmtest.On(t, "rm -r /run/systemd/system/llmhost-turn-a.service.d && systemctl daemon-reload && systemctl reset-failed llmhost-turn-a.service || true")
	if r.Code != 2 || !strings.Contains(r.Stdout, "llmhost-turn-b.service runs again, as before") {
		t.Errorf("a switch to a broken server ended with %d:\n%s", r.Code, r.All())
	}
	if got := running(t); !slices.Equal(got, []string{"turn-b"}) {
		t.Errorf("after a switch that failed %v run", got)
	}

	vmtest.On(t, "systemctl stop llmhost-turn-b.service")
	found := p.Drift("turns")
	if len(found) != 1 || found[0].Name != "turn-a-unit" || found[0].Property != "state" {
		t.Errorf("that no server of the group runs is reported as %+v", found)
	}
}

// estimate compares the arithmetic with what llama-server itself says, and its limit with what the process has.
func estimate(t *testing.T, p *vmtest.Project) {
	host, diags := hostfile.Load(filepath.Join(p.Dir, "hosts", "turns.hcl"))
	if err := hostfile.AsError(diags); err != nil {
		t.Fatal(err)
	}
	ram, _, known := host.Needs(host.Server("turn-a"))
	if !known {
		t.Fatal("pin wrote no shape")
	}
	// It says so only when it is asked to say more.
	const dropIn = "/run/systemd/system/llmhost-turn-a.service.d"
	vmtest.On(t, "mkdir -p "+dropIn+" && printf '[Service]\nEnvironment=LLAMA_LOG_VERBOSITY=5 LLAMA_ARG_LOG_VERBOSITY=5\n' >"+dropIn+"/verbose.conf && systemctl daemon-reload && systemctl restart llmhost-turn-a.service")
	var said string
	for range 60 {
		said = vmtest.On(t, "journalctl -u llmhost-turn-a.service -o cat --no-pager | grep -iE 'buffer size|KV self size|n_ctx' || true; sleep 1")
		if strings.Contains(said, "KV buffer size") {
			break
		}
	}
	t.Logf("llama-server says:\n%s", said)
	defer vmtest.On(t, "rm -r "+dropIn+" && systemctl daemon-reload && systemctl restart llmhost-turn-a.service")
	match := regexp.MustCompile(`KV buffer size = *([0-9.]+) MiB`).FindStringSubmatch(said)
	if match == nil {
		t.Fatalf("llama-server doesn't say the size of its KV cache:\n%s", said)
	}
	mib, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	// It prints hundredths of a MiB.
	if got, want := fmt.Sprintf("%.2f", float64(ram.KV)/(1<<20)), fmt.Sprintf("%.2f", mib); got != want {
		t.Errorf("the KV cache is estimated at %s MiB, and llama-server has %s MiB", got, want)
	}
	rss := vmtest.On(t, "grep VmHWM /proc/$(systemctl show --property=MainPID --value llmhost-turn-a.service)/status")
	kib, err := strconv.ParseUint(strings.Fields(rss)[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("estimated %d KiB, and the process had %d KiB at most; the limit is %d KiB", ram.Sum()>>10, kib, fit.Limit(ram)>>10)
	if kib<<10 > fit.Limit(ram) {
		t.Errorf("the process had %d KiB, and its limit is %d", kib, fit.Limit(ram)>>10)
	}
	limit := strings.TrimSpace(vmtest.On(t, "systemctl show --property=MemoryMax --value llmhost-turn-a.service"))
	if limit != strconv.FormatUint(fit.Limit(ram), 10) {
		t.Errorf("MemoryMax is %s, want %d", limit, fit.Limit(ram))
	}
}

// Real faults of a real machine are found, each by its name, and are gone when they are mended.
func TestDoctorOnARealMachine(t *testing.T) {
	p := vmtest.NewProject(t)
	p.Host("sick", strings.Replace(vmtest.ModelServer("sick"), `memory  = "1GiB"`, "memory  = \"1GiB\"\n    listen  = \"127.0.0.1:8124\"", 1))
	p.Must("probe", "-s", "sick")
	examine := func() map[string]string {
		r := p.Run("doctor", "-s", "sick", "--json")
		if r.Code != 0 && r.Code != 2 {
			t.Fatalf("doctor ended with %d:\n%s", r.Code, r.All())
		}
		var report struct {
			Findings []struct{ Check, Verdict, Found, Remedy string }
		}
		if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
			t.Fatalf("%v in:\n%s", err, r.All())
		}
		bad := map[string]string{}
		for _, f := range report.Findings {
			if f.Verdict == "problem" || f.Verdict == "warning" {
				bad[f.Check] = f.Found
				if f.Remedy == "" {
					t.Errorf("no way out of %+v", f)
				}
			}
		}
		if (len(bad) > 0) != (r.Code == 2) {
			t.Errorf("the exit code is %d with %v", r.Code, bad)
		}
		return bad
	}
	before := examine()
	t.Logf("of the VM as it is: %v", before)
	for _, check := range []string{"ports", "docker-group", "core-dumps", "swap", "mounts", "systemd", "kernel", "cgroups"} {
		if found, bad := before[check]; bad {
			t.Errorf("of a healthy machine %s says %q", check, found)
		}
	}
	t.Cleanup(func() {
		vmtest.On(t, "systemctl stop squatter.service || true; gpasswd --delete ops docker || true; swapoff /swap.test || true; rm -f /swap.test; umount /opt/llmhost || true; rmdir /opt/llmhost || true; sysctl -qw kernel.core_pattern=core")
	})
	vmtest.On(t, strings.Join([]string{
		"systemd-run --unit=squatter systemd-socket-activate --listen=127.0.0.1:8124 /bin/cat",
		"gpasswd --add ops docker",
		"dd if=/dev/zero of=/swap.test bs=1M count=8 status=none && chmod 600 /swap.test && mkswap -q /swap.test && swapon /swap.test",
		"mkdir -p /opt/llmhost && mount -t tmpfs -o noexec,size=1M tmpfs /opt/llmhost",
		"sysctl -qw 'kernel.core_pattern=|/bin/false %p'",
	}, " && "))
	sick := examine()
	for check, want := range map[string]string{
		"ports":        `port 8124 of server "sick" is taken by`,
		"docker-group": "in the group docker: ops",
		"swap":         "swap is on /swap.test",
		"mounts":       "/opt/llmhost is on /opt/llmhost, which is mounted noexec",
		"core-dumps":   "|/bin/false %p",
	} {
		if !strings.Contains(sick[check], want) {
			t.Errorf("%s says %q, want %q", check, sick[check], want)
		}
	}
}
