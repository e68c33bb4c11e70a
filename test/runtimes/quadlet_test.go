package runtimes

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/testimage"
	. "github.com/llmhost/llmhost/test/vmtest"
)

// engineImage writes the lab's llama.cpp as a container image FROM scratch, as docker save would.
func engineImage(t *testing.T) *testimage.Written {
	t.Helper()
	image, err := testimage.Write(filepath.Join(t.TempDir(), "llama.cpp.tar"), testimage.Spec{
		Layer: VM.EngineArchive, Entrypoint: []string{"/usr/bin/llama-server"}, Architecture: "amd64", OCI: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// rootless is a server in a container of a user without privileges.
func rootless(name string, image *testimage.Written) string {
	return fmt.Sprintf(`
  engine "llama.cpp" {
    image      = %q
    source     = %q
    sha256     = %q
    executable = "usr/bin/llama-server"
  }
  model "tiny" {
    source = %q
    sha256 = %q
  }
  server %q {
    engine  = "llama.cpp"
    runtime = "quadlet"
    model   = "tiny"
    memory  = "1GiB"
    cpus    = 0.9
    threads = 1
    context = 1024
  }`, image.ID, image.Path, image.SHA256, Model.Path, Model.SHA256, name)
}

// What the user has left on the host when it is gone, and what shouldn't be.
const quadletTraces = `getent passwd llm-pod; getent group llm-pod; grep -s llm-pod /etc/subuid /etc/subgid; ls -d /var/lib/llm-pod /run/llmhost /etc/containers/systemd/users/* /etc/tmpfiles.d/llmhost-pod.conf /var/lib/systemd/linger/llm-pod 2>/dev/null; pgrep -u llm-pod 2>/dev/null; true`

func TestContainerWithoutPrivileges(t *testing.T) {
	if left := On(t, quadletTraces); left != "" {
		t.Fatalf("the host has these before:\n%s", left)
	}
	image := engineImage(t)
	p := NewProject(t)
	p.Host("pod", rootless("pod", image))
	destroyed := false
	t.Cleanup(func() {
		if !destroyed {
			p.Run("destroy", "-s", "pod", "--yes", "--skip-preview", "--non-interactive")
		}
	})
	p.Up("pod")
	p.NoDrift("pod")
	if answer := p.Must("ask", "-s", "pod", "--server", "pod", "hello"); strings.TrimSpace(answer.Stdout) == "" {
		t.Errorf("no answer:\n%s", answer.All())
	}

	uid := On(t, "id -u llm-pod")
	pid := On(t, "pgrep -f '^/usr/bin/llama-server.*/run/llmhost/pod/'")
	t.Run("confined", func(t *testing.T) { confined(t, pid, uid) })
	t.Run("reboot", func(t *testing.T) {
		// What makes the container run after a boot, without a login.
		if state := On(t, podCtl(uid, "is-enabled llmhost-pod.service || true")); state != "generated" {
			t.Errorf("the service is %q", state)
		}
		if linger := On(t, "loginctl show-user llm-pod --property=Linger --value"); linger != "yes" {
			t.Errorf("linger is %q", linger)
		}
	})
	t.Run("crash", func(t *testing.T) {
		// The socket of a server that was killed doesn't keep the next from starting.
		On(t, "kill -KILL "+pid)
		On(t, "for i in $(seq 60); do test \"$(pgrep -f '^/usr/bin/llama-server.*/run/llmhost/pod/')\" != '' && curl -sf --unix-socket /run/llmhost/pod/llm.sock http://x/health && exit 0; sleep 1; done; exit 1")
		if now := On(t, "pgrep -f '^/usr/bin/llama-server.*/run/llmhost/pod/'"); now == pid {
			t.Error("it wasn't killed")
		}
		p.NoDrift("pod")
	})
	t.Run("drift", func(t *testing.T) { podDrift(t, p, uid) })
	t.Run("bad text", func(t *testing.T) {
		p.Host("pod", strings.Replace(rootless("pod", image), "cpus    = 0.9", `cpus    = 0.9
    user    = "99999999:1"`, 1))
		if r := p.Run("up", "-s", "pod", "--yes", "--skip-preview", "--non-interactive"); r.Code == 0 {
			t.Errorf("a user that the container can't have was taken:\n%s", r.All())
		}
		p.Host("pod", rootless("pod", image))
		p.Up("pod")
		p.NoDrift("pod")
	})

	destroyed = true
	p.Must("destroy", "-s", "pod", "--yes", "--skip-preview", "--non-interactive")
	if left := On(t, quadletTraces); left != "" {
		t.Errorf("left on the host:\n%s", left)
	}
}

// podCtl asks the user's manager.
func podCtl(uid, command string) string {
	return fmt.Sprintf("cd / && setpriv --reuid %[1]s --regid llm-pod --init-groups env -i PATH=/usr/bin HOME=/var/lib/llm-pod XDG_RUNTIME_DIR=/run/user/%[1]s "+
		"DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/%[1]s/bus systemctl --user %[2]s", uid, command)
}

func podman(uid, command string) string {
	return strings.Replace(podCtl(uid, command), "systemctl --user", "podman", 1)
}

// confined looks at the server's process from the host.
func confined(t *testing.T, pid, uid string) {
	status := map[string]string{}
	for line := range strings.Lines(On(t, "cat /proc/"+pid+"/status")) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.TrimSpace(value)
	}
	user := strings.Fields(status["Uid"])[0]
	if ids := On(t, "awk -F: '$1==\"llm-pod\" {print $2+999}' /etc/subuid"); user != ids || user == uid {
		t.Errorf("its user is %s on the host, and not %s, which is its alone", user, ids)
	}
	for key, want := range map[string]string{"CapEff": "0000000000000000", "CapBnd": "0000000000000000", "CapPrm": "0000000000000000", "Seccomp": "2", "NoNewPrivs": "1"} {
		if status[key] != want {
			t.Errorf("%s is %s, want %s", key, status[key], want)
		}
	}
	cgroup := "/sys/fs/cgroup" + On(t, "cut -d: -f3 /proc/"+pid+"/cgroup")
	for file, want := range map[string]string{"memory.max": "1073741824", "memory.swap.max": "0", "pids.max": "1024", "cpu.max": "90000 100000"} {
		if got := On(t, "cat "+cgroup+"/"+file); got != want {
			t.Errorf("%s is %s, want %s", file, got, want)
		}
	}
	inside := "nsenter -t " + pid + " -n -- "
	if links := On(t, inside+"ls /sys/class/net | tr '\\n' ' '; "+inside+"ip -o link | wc -l"); !strings.HasSuffix(links, "1") {
		t.Errorf("its network has %s", links)
	}
	// Written is nowhere but in memory, and its models are its model.
	if _, err := TryOn("nsenter -t " + pid + " -m -U --preserve-credentials -- /run/llmhost-agent --version >/dev/null"); err != nil {
		t.Errorf("the program that starts it isn't in it: %v", err)
	}
	mounts := On(t, "cat /proc/"+pid+"/mountinfo")
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		target, options := fields[4], strings.Split(fields[5], ",")
		if slices.Contains(options, "ro") || strings.HasPrefix(target, "/proc") || strings.HasPrefix(target, "/dev") || strings.HasPrefix(target, "/sys") {
			continue
		}
		if target != "/tmp" && target != "/run/llmhost/pod" {
			t.Errorf("it may write %s (%s)", target, fields[5])
		}
	}
	if models := On(t, "ls /proc/"+pid+"/root/models"); models != "tiny.gguf" {
		t.Errorf("it has the models %q", models)
	}
	if socket := On(t, "stat -c '%A %G' /run/llmhost/pod/llm.sock /run/llmhost/pod"); socket != "srwxrwx--- llm-pod\ndrwx--x--- llm-pod" {
		t.Errorf("the socket and its folder are\n%s", socket)
	}
}

// podDrift changes what runs by hand, and expects to be told and that it is put right.
func podDrift(t *testing.T, p *Project, uid string) {
	On(t, podman(uid, "update --memory=512m --memory-swap=512m llmhost-pod"))
	On(t, "mkdir -p /etc/containers/systemd/users/"+uid+"/llmhost-pod.container.d && printf '[Container]\\nReadOnly=false\\n' > /etc/containers/systemd/users/"+uid+"/llmhost-pod.container.d/x.conf")
	On(t, "rm /var/lib/systemd/linger/llm-pod") // logind goes on until it is asked
	var found []string
	for _, f := range p.Drift("pod") {
		found = append(found, f.Name+" "+f.Property)
	}
	for _, want := range []string{"pod-user lacks", "pod-container overrides", "pod-container container.memory"} {
		if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, want) }) {
			t.Errorf("%s isn't reported: %q", want, found)
		}
	}
	p.Up("pod", "--refresh")
	p.NoDrift("pod")
}
