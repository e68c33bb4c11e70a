package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/testmodel"
)

// footprint is everything on the host that a deployment could leave behind.
const footprint = `{ find /etc /opt /srv /usr/local /var/lib/llmhost /run/llmhost /run/systemd/system /run/systemd/system.control \
	-not -path '/etc/.pwd.lock' -not -path '/etc/*-' -printf '%p %y %m %u %g\n' 2>/dev/null | sort
	cut -d: -f1 /etc/passwd /etc/group; ls /var/lib/systemd/timers/stamp-llmhost* 2>/dev/null; systemctl list-unit-files --no-legend --plain 'llmhost*'; systemctl list-units --all --no-legend --plain 'llmhost*'; }`

// The main job: deploy, ask, nothing to do the second time, no drift, and gone without a trace.
func TestDeployAskAndDestroy(t *testing.T) {
	p := newProject(t)
	p.host("main", modelServer("alpha"))
	before := on(t, footprint)

	p.up("main")
	destroyed := false
	defer func() {
		if !destroyed {
			p.run("destroy", "-s", "main", "--yes", "--skip-preview", "--non-interactive")
		}
	}()

	answer := p.must("ask", "-s", "main", "What are you?")
	if got := strings.TrimSpace(answer.stdout); got != testmodel.DefaultReply {
		t.Errorf("the model's answer is\n%q\nnot the reply that was built into it\n%q", got, testmodel.DefaultReply)
	}
	t.Run("sandbox", func(t *testing.T) { sandbox(t, "alpha") })
	t.Run("second up", func(t *testing.T) { unchanged(t, p.up("main")) })
	t.Run("refreshing up", func(t *testing.T) { unchanged(t, p.up("main", "--refresh")) })
	t.Run("no drift", func(t *testing.T) { p.noDrift("main") })
	t.Run("preview", func(t *testing.T) {
		p.must("preview", "-s", "main", "--non-interactive", "--expect-no-changes")
	})

	p.must("destroy", "-s", "main", "--yes", "--skip-preview", "--non-interactive")
	destroyed = true
	settled(t, before)
}

// A server with a port listens on loopback alone, and on no other port than its own.
func TestServerOnLoopback(t *testing.T) {
	p := newProject(t)
	const port = 18002
	p.host("port", strings.Replace(modelServer("delta"), "    context = 1024", fmt.Sprintf("    context = 1024\n    listen  = \"127.0.0.1:%d\"", port), 1))
	p.up("port")
	p.destroyAtEnd("port")
	if got := strings.TrimSpace(p.must("ask", "-s", "port", "What are you?").stdout); got != testmodel.DefaultReply {
		t.Errorf("the model answers %q", got)
	}
	have := strings.Fields(on(t, "ss -Hltnp | grep llama-server | awk '{print $4}'"))
	if len(have) != 1 || have[0] != fmt.Sprintf("127.0.0.1:%d", port) {
		t.Errorf("the server listens on %v", have)
	}
	p.host("port", strings.Replace(modelServer("delta"), "    context = 1024", "    context = 1024\n    listen  = \"0.0.0.0:18002\"", 1))
	r := p.run("up", "-s", "port", "--yes", "--skip-preview", "--non-interactive")
	if r.code == 0 || !strings.Contains(r.all(), "hosts/port.hcl:") {
		t.Errorf("a server on all addresses was not refused (%d):\n%s", r.code, r.all())
	}
	p.host("port", modelServer("delta"))
}

// evidence gathers, in one call, what the running process of a server really has. Each line
// is "key<TAB>value"; "\f" stands for a line break in a value.
const evidence = `unit=llmhost-SERVER.service
pid=$(systemctl show -p MainPID --value $unit)
root=/proc/$pid/root
say() { printf '%s\t%s\n' "$1" "$(cat | tr '\n' '\f')"; }
awk -F:'[ \t]*' '/^(NoNewPrivs|Seccomp|Cap...|Uid):/ {print $1 "\t" $2}' /proc/$pid/status
id -u llm-SERVER | say user
ls -d $root/home $root/boot $root/etc/shadow 2>/dev/null | say foreign
ls $root/models $root/srv/models 2>/dev/null | grep gguf | say models
nsenter -t $pid -n ip -o link | awk '{print $2}' | say links
ss -Hltnp | grep llama-server | say ports
ls $root/dev | say devices
touch /dev/shm/of-the-host; ls $root/dev/shm | say shm; rm /dev/shm/of-the-host
cat /proc/$pid/mountinfo | say mounts
cat /sys/fs/cgroup$(systemctl show -p ControlGroup --value $unit)/memory.max | say memory
su -s /bin/sh nobody -c 'curl -s -m 5 --unix-socket /run/llmhost/SERVER/llm.sock http://x/health; echo $?' | say stranger
systemd-analyze security --no-pager $unit | tail -n 1 | say exposure`

// sandbox asserts what the running process really has, from /proc, its cgroup and systemd.
func sandbox(t *testing.T, server string) {
	have := map[string]string{}
	for _, line := range strings.Split(on(t, strings.ReplaceAll(evidence, "SERVER", server)), "\n") {
		key, value, _ := strings.Cut(line, "\t")
		have[key] = strings.TrimSpace(strings.ReplaceAll(value, "\f", "\n"))
	}
	for key, want := range map[string]string{
		"NoNewPrivs": "1", "Seccomp": "2",
		"CapInh": zeroCaps, "CapPrm": zeroCaps, "CapEff": zeroCaps, "CapBnd": zeroCaps, "CapAmb": zeroCaps,
		"foreign": "",                    // folders of the host's own root
		"models":  "tiny.gguf",           // no other server's model
		"links":   "lo:",                 // an empty network namespace
		"shm":     "",                    // no shared memory with other processes
		"ports":   "",                    // no TCP port on the host
		"memory":  strconv.Itoa(1 << 30), // "1GiB" in the host file
	} {
		if have[key] != want {
			t.Errorf("%s is %q, want %q", key, have[key], want)
		}
	}
	if uid := strings.Fields(have["Uid"] + " ?")[0]; uid == "0" || uid != have["user"] {
		t.Errorf("the process runs as uid %s, llm-%s is %s", uid, server, have["user"])
	}
	for _, device := range strings.Fields(have["devices"]) {
		if device == "mem" || device == "kmsg" || strings.HasPrefix(device, "vd") {
			t.Errorf("/dev/%s is there inside the sandbox", device)
		}
	}
	seen := false
	for _, mount := range strings.Split(have["mounts"], "\n") {
		f := strings.Fields(mount)
		if len(f) < 6 || (f[4] != "/" && f[4] != "/usr" && !strings.HasSuffix(f[4], ".gguf")) {
			continue
		}
		seen = true
		if !strings.HasPrefix(f[5], "ro") {
			t.Errorf("%s is writable inside the sandbox", f[4])
		}
	}
	if !seen {
		t.Errorf("no mount of the sandbox was found:\n%s", have["mounts"])
	}
	if have["stranger"] != "7" { // curl: could not connect
		t.Errorf("any user may open the server's socket: %s", have["stranger"])
	}
	if score := firstNumber(have["exposure"]); score < 0 || score > 1.0 {
		t.Errorf("exposure score: %q, want at most 1.0", have["exposure"])
	}
	t.Logf("exposure of the running unit: %s", have["exposure"])
}

const zeroCaps = "0000000000000000"

func firstNumber(s string) float64 {
	for _, f := range strings.Fields(s) {
		if v, err := strconv.ParseFloat(f, 64); err == nil {
			return v
		}
	}
	return -1
}

// lineDiff lists the lines that only one of two texts has.
func lineDiff(before, after string) string {
	seen := map[string]int{}
	for _, l := range strings.Split(before, "\n") {
		seen[l]++
	}
	var b strings.Builder
	for _, l := range strings.Split(after, "\n") {
		if seen[l]--; seen[l] < 0 {
			fmt.Fprintf(&b, "+ %s\n", l)
		}
	}
	for l, n := range seen {
		for ; n > 0; n-- {
			fmt.Fprintf(&b, "- %s\n", l)
		}
	}
	return b.String()
}
