package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/testmodel"
	"github.com/llmhost/llmhost/test/vmtest"
)

// The main job: deploy, ask, nothing to do the second time, no drift, and gone without a trace.
func TestDeployAskAndDestroy(t *testing.T) {
	p := newProject(t)
	p.Host("main", vmtest.ModelServer("alpha"))
	before := vmtest.On(t, vmtest.Footprint)

	p.Up("main")
	destroyed := false
	defer func() {
		if !destroyed {
			p.Run("destroy", "-s", "main", "--yes", "--skip-preview", "--non-interactive")
		}
	}()

	answer := p.Must("ask", "-s", "main", "What are you?")
	if got := strings.TrimSpace(answer.Stdout); got != testmodel.DefaultReply {
		t.Errorf("the model's answer is\n%q\nnot the reply that was built into it\n%q", got, testmodel.DefaultReply)
	}
	t.Run("sandbox", func(t *testing.T) { sandbox(t, "alpha") })
	t.Run("second up", func(t *testing.T) { vmtest.Unchanged(t, p.Up("main")) })
	t.Run("refreshing up", func(t *testing.T) { vmtest.Unchanged(t, p.Up("main", "--refresh")) })
	t.Run("no drift", func(t *testing.T) { p.NoDrift("main") })
	t.Run("preview", func(t *testing.T) {
		p.Must("preview", "-s", "main", "--non-interactive", "--expect-no-changes")
	})

	p.Must("destroy", "-s", "main", "--yes", "--skip-preview", "--non-interactive")
	destroyed = true
	vmtest.Settled(t, before)
}

// A server with a port listens on loopback alone, and on no other port than its own.
func TestServerOnLoopback(t *testing.T) {
	p := newProject(t)
	const port = 18002
	p.Host("port", strings.Replace(vmtest.ModelServer("delta"), "    context = 1024", fmt.Sprintf("    context = 1024\n    listen  = \"127.0.0.1:%d\"", port), 1))
	p.Up("port")
	p.DestroyAtEnd("port")
	if got := strings.TrimSpace(p.Must("ask", "-s", "port", "What are you?").Stdout); got != testmodel.DefaultReply {
		t.Errorf("the model answers %q", got)
	}
	have := strings.Fields(vmtest.On(t, "ss -Hltnp | grep llama-server | awk '{print $4}'"))
	if len(have) != 1 || have[0] != fmt.Sprintf("127.0.0.1:%d", port) {
		t.Errorf("the server listens on %v", have)
	}
	p.Host("port", strings.Replace(vmtest.ModelServer("delta"), "    context = 1024", "    context = 1024\n    listen  = \"0.0.0.0:18002\"", 1))
	r := p.Run("up", "-s", "port", "--yes", "--skip-preview", "--non-interactive")
	if r.Code == 0 || !strings.Contains(r.All(), "hosts/port.hcl:") {
		t.Errorf("a server on all addresses was not refused (%d):\n%s", r.Code, r.All())
	}
	p.Host("port", vmtest.ModelServer("delta"))
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
	for _, line := range strings.Split(vmtest.On(t, strings.ReplaceAll(evidence, "SERVER", server)), "\n") {
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
