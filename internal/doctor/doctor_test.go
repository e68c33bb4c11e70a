package doctor

import (
	"maps"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/hostfile"
)

const desktop = `host "desktop" {
  local {}

  gpu "nvidia" {
    vram        = "24GiB"
    power_limit = "300W"
  }

  engine "llama.cpp" {
    source = "/e.tar"
    sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  }

  engine "vllm" {
    image = "vllm/vllm-openai@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
  }

  model "small" {
    source = "/small.gguf"
    sha256 = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

    shape {
      size         = "2GiB"
      layers       = 32
      kv_per_token = "128KiB"
    }
  }

  model "folder" {
    source = "/folder"
    sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

    shape {
      size = "8GiB"
    }
  }

  server "fast" {
    engine     = "llama.cpp"
    model      = "small"
    listen     = "127.0.0.1:8001"
    gpu_layers = 99
  }

  server "main" {
    engine                 = "vllm"
    runtime                = "compose"
    model                  = "folder"
    listen                 = "127.0.0.1:8000"
    gpu_memory_utilization = 0.7
  }
}
`

// healthy is a machine on which all is well. The outputs have the forms that the tools document: nvidia-smi(1), ss(8),
// apt-config(8), timedatectl(1), sshd(8); no NVIDIA card was there to record them from.
func healthy() Machine {
	return Machine{
		Facts: &hostfile.Facts{Kernel: "6.12.48+deb13-amd64", SystemdVersion: 257, MemoryBytes: 64 << 30,
			GPUs: []hostfile.GPUFact{{Vendor: "nvidia", Name: "NVIDIA GeForce RTX 4090", Driver: "nvidia 570.153.02", VRAMBytes: 24564 << 20}}},
		Evidence: map[string]Evidence{
			smiQuery:                         {Text: "0, NVIDIA GeForce RTX 4090, 570.153.02, 24564, 312, 300.00, Enabled\n"},
			"nvidia-ctk --version":           {Text: "NVIDIA Container Toolkit CLI version 1.17.8\ncommit: f202b80a9b9d0db00d9b1d73c0128c8962c55f4d\n"},
			"docker compose version --short": {Text: "2.26.1-4\n"},
			"docker version --format {{.Server.Version}}": {Text: "26.1.5+dfsg1\n"},
			"podman --version":                            {Absent: true},
			"ss --no-header --listening --tcp --numeric --processes --cgroup": {Text: "" +
				"LISTEN 0 128 127.0.0.1:8001 0.0.0.0:* users:((\"llama-server\",pid=711,fd=4)) ino:9 sk:1 cgroup:/system.slice/llmhost-fast.service <->\n" +
				"LISTEN 0 4096 127.0.0.1:8000 0.0.0.0:* users:((\"docker-proxy\",pid=812,fd=7)) ino:9 sk:1 cgroup:/system.slice/docker.service <->\n" +
				"LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:((\"sshd\",pid=600,fd=3)) ino:8 sk:2 cgroup:/system.slice/ssh.service <->\n"},
			"/etc/group":                        {Text: "root:x:0:\ndocker:x:989:\n"},
			"/dev/char":                         {Text: "1:3\n195:0\n195:255"},
			"/proc/swaps":                       {Text: "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/zram0                              partition\t4194300\t\t0\t\t100\n"},
			"/proc/sys/kernel/core_pattern":     {Text: "core\n"},
			"/sys/fs/cgroup/cgroup.controllers": {Text: "cpuset cpu io memory hugetlb pids rdma misc\n"},
			"apt-config dump":                   {Text: "APT \"\";\nUnattended-Upgrade::Automatic-Reboot \"false\";\n"},
			"sshd -T":                           {Text: "port 22\npermitrootlogin without-password\npasswordauthentication no\npermitemptypasswords no\n"},
			"timedatectl show":                  {Text: "Timezone=UTC\nNTP=yes\nNTPSynchronized=yes\n"},
			"systemd-analyze cat-config systemd/coredump.conf": {Text: "[Coredump]\n#Storage=external\n"},
		},
		Folders: map[string]Folder{
			"/srv/models":      {Exists: true, Mode: 0o750, Free: 100 << 30, Total: 200 << 30, MountPoint: "/srv", FileSystem: "ext4", Options: []string{"rw"}, Protects: true},
			"/opt/llmhost":     {Total: 200 << 30, MountPoint: "/", Options: []string{"rw"}},
			"/var/lib/llmhost": {Total: 200 << 30, MountPoint: "/", Options: []string{"rw"}},
		},
		Placed: map[string]uint64{},
	}
}

func parse(t *testing.T) *hostfile.Host {
	t.Helper()
	h, diags := hostfile.Parse([]byte(desktop), "hosts/desktop.hcl")
	if err := hostfile.AsError(diags); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHealthyMachine(t *testing.T) {
	m := healthy()
	findings := Examine(parse(t), m.Facts, m)
	for _, f := range findings {
		if f.Verdict != OK {
			t.Errorf("on a healthy machine: %+v", f)
		}
	}
	said := map[string]bool{}
	for _, f := range findings {
		said[f.Check] = true
	}
	for _, c := range checks {
		if !said[c.name] {
			t.Errorf("the check %s says nothing of a healthy machine", c.name)
		}
	}
}

// Each fault is found by its check, with what mends it, and by no other check.
func TestFaultsAreFound(t *testing.T) {
	text := func(source, text string) func(*Machine) {
		return func(m *Machine) { m.Evidence[source] = Evidence{Text: text} }
	}
	folder := func(path string, change func(*Folder)) func(*Machine) {
		return func(m *Machine) { f := m.Folders[path]; change(&f); m.Folders[path] = f }
	}
	const listening = "ss --no-header --listening --tcp --numeric --processes --cgroup"
	for name, test := range map[string]struct {
		change               func(*Machine)
		check, verdict, want string
	}{
		"old systemd":  {func(m *Machine) { m.Facts.SystemdVersion = 247 }, "systemd", Problem, "systemd 247"},
		"old kernel":   {func(m *Machine) { m.Facts.Kernel = "5.4.0-216-generic" }, "kernel", Problem, "kernel 5.4.0"},
		"old cgroups":  {func(m *Machine) { m.Evidence["/sys/fs/cgroup/cgroup.controllers"] = Evidence{Absent: true} }, "cgroups", Problem, "version 1"},
		"no memory":    {text("/sys/fs/cgroup/cgroup.controllers", "cpu pids"), "cgroups", Problem, "controller memory is off"},
		"small memory": {func(m *Machine) { m.Facts.MemoryBytes = 4 << 30 }, "fit", Problem, "don't fit in main memory"},
		"small card":   {func(m *Machine) { m.Facts.GPUs[0].VRAMBytes = 16 << 30 }, "gpu-driver", Problem, "has 16384 MiB, and the host file says 24GiB"},
		"no card":      {func(m *Machine) { m.Facts.GPUs = nil }, "gpu-driver", Problem, "no GPU 0 of nvidia"},
		"upgraded driver": {func(m *Machine) {
			m.Evidence[smiQuery] = Evidence{Text: "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 575.57\n", Error: "exit status 18"}
		}, "gpu-driver", Problem, "version mismatch"},
		"power":           {text(smiQuery, "0, NVIDIA GeForce RTX 4090, 570.153.02, 24564, 312, 450.00, Enabled\n"), "gpu-power", Warning, "may draw 450 W, and the host file says 300 W"},
		"no limit":        {text(smiQuery, "0, NVIDIA GeForce GT 1030, 570.153.02, 2048, 1, [N/A], Disabled\n"), "gpu-power", Warning, "doesn't say"},
		"persistence":     {text(smiQuery, "0, NVIDIA GeForce RTX 4090, 570.153.02, 24564, 312, 300.00, Disabled\n"), "gpu-power", Warning, "no persistence mode"},
		"toolkit of 2024": {text("nvidia-ctk --version", "NVIDIA Container Toolkit CLI version 1.16.1\n"), "gpu-containers", Problem, "CVE-2024-0132"},
		"toolkit of 2025": {text("nvidia-ctk --version", "NVIDIA Container Toolkit CLI version 1.17.3\n"), "gpu-containers", Problem, "CVE-2025-23359"},
		"no toolkit":      {func(m *Machine) { m.Evidence["nvidia-ctk --version"] = Evidence{Absent: true} }, "gpu-containers", Problem, "isn't installed"},
		"no links":        {text("/dev/char", "1:3\n10:229"), "gpu-containers", Warning, "/dev/char"},
		"no compose":      {func(m *Machine) { m.Evidence["docker compose version --short"] = Evidence{Absent: true} }, "container-runtime", Problem, "Docker Compose isn't installed"},
		"docker is down": {func(m *Machine) {
			m.Evidence["docker version --format {{.Server.Version}}"] = Evidence{Error: "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."}
		}, "container-runtime", Problem, "Cannot connect"},
		"full disk":        {folder("/srv/models", func(f *Folder) { f.Free = 9 << 30 }), "disk", Problem, "10 GiB are still to be placed"},
		"nearly full disk": {folder("/srv/models", func(f *Folder) { f.Free = 11 << 30 }), "disk", Warning, "11 GiB of 200 GiB free"},
		"noexec":           {folder("/opt/llmhost", func(f *Folder) { f.MountPoint, f.Options = "/opt", []string{"rw", "noexec"} }), "mounts", Problem, "noexec"},
		"no verity":        {folder("/srv/models", func(f *Folder) { f.Protects = false }), "fs-verity", Warning, "without the feature verity"},
		"open folder":      {folder("/srv/models", func(f *Folder) { f.Mode = 0o755 }), "models-folder", Warning, "0755"},
		"port":             {text(listening, "LISTEN 0 5 0.0.0.0:8001 0.0.0.0:* users:((\"python3\",pid=9,fd=3)) cgroup:/user.slice/user-1000.slice/session-3.scope <->\n"), "ports", Problem, `port 8001 of server "fast" is taken by python3 of session-3.scope`},
		"another's unit":   {text(listening, "LISTEN 0 5 127.0.0.1:8001 0.0.0.0:* users:((\"llama-server\",pid=9,fd=3)) cgroup:/system.slice/mine.service <->\n"), "ports", Problem, "llama-server of mine.service"},
		"clock":            {text("timedatectl show", "NTP=no\nNTPSynchronized=no\n"), "time-sync", Warning, "isn't synchronized"},
		"swap":             {text("/proc/swaps", "Filename Type Size Used Priority\n/dev/nvme0n1p3 partition 8388604 0 -2\n"), "swap", Warning, "/dev/nvme0n1p3"},
		"coredump":         {text("/proc/sys/kernel/core_pattern", "|/usr/lib/systemd/systemd-coredump %P %u %g %s %t %c %h %d\n"), "core-dumps", Warning, "systemd-coredump keeps"},
		"apport":           {text("/proc/sys/kernel/core_pattern", "|/usr/share/apport/apport -p%p -s%s\n"), "core-dumps", Warning, "apport"},
		"reboots":          {text("apt-config dump", "Unattended-Upgrade::Automatic-Reboot \"true\";\nUnattended-Upgrade::Automatic-Reboot-Time \"02:00\";\n"), "reboots", Warning, "at 02:00"},
		"passwords":        {text("sshd -T", "passwordauthentication yes\npermitrootlogin no\n"), "ssh", Warning, "passwordauthentication yes"},
		"docker group":     {text("/etc/group", "docker:x:989:ann,bob\n"), "docker-group", Warning, "ann,bob"},
		"nothing is said":  {func(m *Machine) { m.Evidence["timedatectl show"] = Evidence{Error: "Failed to connect to bus\nmore"} }, "time-sync", Unknown, "Failed to connect to bus"},
	} {
		t.Run(name, func(t *testing.T) {
			m := healthy()
			committed := *m.Facts
			m.Evidence = maps.Clone(m.Evidence)
			test.change(&m)
			if m.Facts.MemoryBytes == committed.MemoryBytes && len(m.Facts.GPUs) > 0 {
				committed = *m.Facts // what the machine is isn't under test
			}
			found := 0
			for _, f := range Examine(parse(t), &committed, m) {
				switch {
				case f.Check == test.check && f.Verdict == test.verdict && strings.Contains(f.Found, test.want):
					found++
					if f.Verdict != Unknown && (f.Why == "" || f.Remedy == "") {
						t.Errorf("a fault without a reason or a way out: %+v", f)
					}
				case f.Verdict != OK && f.Check != "facts" && f.Check != test.check:
					t.Errorf("also found: %+v", f)
				}
			}
			if found != 1 {
				t.Errorf("found %d times, in %+v", found, Examine(parse(t), &committed, m))
			}
		})
	}
}

func TestFactsThatDiffer(t *testing.T) {
	m := healthy()
	committed := *m.Facts
	committed.Kernel = "6.1.0"
	for _, f := range Examine(parse(t), &committed, m) {
		if f.Check == "facts" && (f.Verdict != Warning || !strings.Contains(f.Found, "kernel") || f.Remedy != "llmhost probe -s desktop") {
			t.Errorf("%+v", f)
		}
	}
	if f := Examine(parse(t), nil, m)[0]; f.Check != "facts" || f.Verdict != Warning {
		t.Errorf("a host that wasn't probed: %+v", f)
	}
}

func TestToolkitVersions(t *testing.T) {
	for text, want := range map[string][3]int{
		"NVIDIA Container Toolkit CLI version 1.17.4\ncommit: 9b69590c7428470a72f2ae05f826412976af1395": {1, 17, 4},
		"NVIDIA Container Toolkit CLI version 1.18.0-rc.2":                                              {1, 18, 0},
	} {
		if got, ok := toolkitVersion(text); !ok || got != want {
			t.Errorf("%q is %v (%t)", text, got, ok)
		}
	}
	for _, text := range []string{"", "no version", "version x.y.z"} {
		if v, ok := toolkitVersion(text); ok {
			t.Errorf("%q is %v", text, v)
		}
	}
}
