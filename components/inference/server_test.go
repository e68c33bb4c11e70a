package inference

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/hostfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

// load reads a host of testdata with its facts.
func load(t *testing.T, name string) (*hostfile.Host, *hostfile.Facts) {
	t.Helper()
	file := filepath.Join("testdata", name+".hcl")
	host, diags := hostfile.Load(file)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	facts, err := hostfile.LoadFacts(file)
	if err != nil {
		t.Fatal(err)
	}
	return host, facts
}

// servers are all servers of the hosts of testdata, by the name of the unit's golden file.
func servers(t *testing.T) map[string]*Server {
	t.Helper()
	all := map[string]*Server{}
	for _, name := range []string{"desktop", "vps", "radeon", "two-gpus", "engines", "keys"} {
		host, facts := load(t, name)
		for _, server := range host.Servers {
			s, err := NewServer(host, facts, server)
			if err != nil {
				t.Fatal(err)
			}
			all[name+"-"+server.Name] = s
		}
	}
	return all
}

func unit(t *testing.T, s *Server) systemd.Unit {
	t.Helper()
	u, err := s.Unit()
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// A sandbox that gets worse shows here, in a review.
func TestUnitsAreGolden(t *testing.T) {
	for name, server := range servers(t) {
		t.Run(name, func(t *testing.T) {
			text, err := unit(t, server).Text()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".service")
			if *update {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v; write it with go test -update", err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Errorf("%s (-want +got; accept with go test -update):\n%s", file, diff)
			}
		})
	}
}

// mostExposure is the most that systemd-analyze security may score a unit with, in tenths of
// its scale from 0 to 10. A TCP port costs 0.9: the host's network, Internet sockets, and an
// address list that isn't empty. Each unit has 0.2 that isn't true, since /tmp is a file system
// of its own without PrivateTmp=.
// An engine whose processes talk over ports of their own needs address families that cost 0.4.
func mostExposure(s *Server) int {
	most := 11
	if s.Server.Listen.Unix {
		most = 6
	}
	if s.Command().InnerPorts != NoPorts {
		most += 4
	}
	return most
}

func TestExposureIsLow(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); errors.Is(err, exec.ErrNotFound) {
		t.Fatal("this test scores the units with systemd-analyze: install the package systemd")
	}
	for name, s := range servers(t) {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".service")
			out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager",
				"--threshold="+strconv.Itoa(mostExposure(s)), file).CombinedOutput()
			var findings []string
			for line := range strings.Lines(string(out)) {
				if strings.ContainsAny(line, "✗→") {
					findings = append(findings, strings.TrimSpace(line))
				}
			}
			if err != nil {
				t.Errorf("the exposure is over %d tenths (%v):\n%s", mostExposure(s), err, strings.Join(findings, "\n"))
			}
		})
	}
}

func TestSocketServerHasNoNetwork(t *testing.T) {
	for name, s := range servers(t) {
		service := unit(t, s).Service
		noNetwork := service.PrivateNetwork == systemd.Yes
		if s.Command().InnerPorts == NoPorts {
			noNetwork = noNetwork && cmp.Equal([]string(service.RestrictAddressFamilies), []string{"AF_UNIX"})
		}
		if noNetwork != s.Server.Listen.Unix {
			t.Errorf("%s listens on %s and its network is closed: %t", name, s.Server.Listen, noNetwork)
		}
		if !cmp.Equal([]string(service.IPAddressDeny), []string{"any"}) {
			t.Errorf("%s may reach other machines", name)
		}
	}
}

func TestDevicesAreOpenedOnlyToServersThatUseThem(t *testing.T) {
	for name, s := range servers(t) {
		service := unit(t, s).Service
		if uses, open := s.Server.UsesGPU(s.Engine.Kind), len(service.DeviceAllow) > 0; uses != open {
			t.Errorf("%s uses a GPU: %t, and has devices: %v", name, uses, service.DeviceAllow)
		}
		if service.DevicePolicy != "closed" {
			t.Errorf("%s may open devices that aren't listed", name)
		}
	}
}

func TestServersShareNoUserModelOrAddress(t *testing.T) {
	host, facts := load(t, "desktop")
	seen := map[string]string{}
	for _, server := range host.Servers {
		s, err := NewServer(host, facts, server)
		if err != nil {
			t.Fatal(err)
		}
		service := unit(t, s).Service
		for what, value := range map[string]string{
			"user": string(service.User), "group": string(service.Group), "model": service.BindReadOnlyPaths[0].Source, "address": s.Address(),
		} {
			if other, ok := seen[what+value]; ok {
				t.Errorf("servers %s and %s share the %s %s", other, server.Name, what, value)
			}
			seen[what+value] = server.Name
		}
	}
}

func TestGPUNeedsFacts(t *testing.T) {
	host, facts := load(t, "desktop")
	hybrid := *host.Server("hybrid")
	tests := []struct {
		name  string
		facts *hostfile.Facts
		want  []string
	}{
		{"not probed", nil, []string{"desktop.hcl:", `"hybrid"`, "run llmhost probe -s desktop first"}},
		{"no driver", &hostfile.Facts{DeviceClasses: []string{"char-drm"}}, []string{`"hybrid"`, "install the GPU's driver", "char-nvidia"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := NewServer(host, test.facts, hybrid)
			if err == nil {
				t.Fatal("a sandbox was rendered on assumptions")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error %q doesn't say %q", err, want)
				}
			}
		})
	}
	if _, err := NewServer(host, nil, *host.Server("embed")); err != nil {
		t.Errorf("a server without a GPU needs no facts: %v", err)
	}
	renamed := clone(t, facts)
	renamed.DeviceClasses = []string{"char-nvidia-frontend", "char-nvidia-uvm", "char-sd"}
	old, err := NewServer(host, renamed, hybrid)
	if err != nil {
		t.Fatal(err)
	}
	var classes []string
	for _, d := range old.GPU.Devices {
		classes = append(classes, d.Device)
	}
	if diff := cmp.Diff([]string{"char-nvidia-frontend", "char-nvidia-uvm"}, classes); diff != "" {
		t.Errorf("devices of an older driver (-want +got):\n%s", diff)
	}
}

func TestDriverLibrariesAreWhereTheDistributionHasThem(t *testing.T) {
	host, facts := load(t, "desktop")
	for _, test := range []struct{ os, architecture, want string }{
		{"debian", "amd64", "/usr/lib/x86_64-linux-gnu/libcuda.so.1"},
		{"ubuntu", "arm64", "/usr/lib/aarch64-linux-gnu/libcuda.so.1"},
		{"fedora", "amd64", "/usr/lib64/libcuda.so.1"},
		{"arch", "amd64", "/usr/lib/libcuda.so.1"},
	} {
		machine := clone(t, facts)
		machine.OS.ID, machine.Architecture = test.os, test.architecture
		s, err := NewServer(host, machine, *host.Server("hybrid"))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.GPU.Libraries[0].Source; got != test.want {
			t.Errorf("%s on %s: %s, want %s", test.os, test.architecture, got, test.want)
		}
	}
}

func TestRestartOnFollowsTheBytes(t *testing.T) {
	host, _ := load(t, "vps")
	s, err := NewServer(host, nil, *host.Server("chat"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"engine": strings.Repeat("d", 64), "model": strings.Repeat("e", 64)}
	if diff := cmp.Diff(want, s.RestartOn()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReadinessAsksTheModelByItsName(t *testing.T) {
	for name, want := range map[string]Readiness{
		"desktop-hybrid": {"unix:/run/llmhost/hybrid/llm.sock", "llama-3.3-70b", 300, ""},
		"desktop-embed":  {"tcp:127.0.0.1:8002", "embed", 300, ""},
		"vps-chat":       {"unix:/run/llmhost/chat/llm.sock", "qwen3-0.6b", 90, ""},
		"vps-v6":         {"tcp:[::1]:8003", "qwen3-0.6b", 300, ""},
	} {
		if diff := cmp.Diff(want, servers(t)[name].Readiness()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func clone(t *testing.T, facts *hostfile.Facts) *hostfile.Facts {
	t.Helper()
	data, err := json.Marshal(facts)
	if err != nil {
		t.Fatal(err)
	}
	c := new(hostfile.Facts)
	if err := json.Unmarshal(data, c); err != nil {
		t.Fatal(err)
	}
	return c
}

// A server opens its own cards alone, by numbers that don't depend on what is there when it starts.
func TestServerHasItsOwnCards(t *testing.T) {
	host, facts := load(t, "two-gpus")
	want := map[string]struct{ devices, visible string }{
		"first":  {"char-nvidia-uvm /dev/char/195:0 /dev/char/195:255", "GPU-00000000-0000-0000-0000-000000000000"},
		"second": {"char-nvidia-uvm /dev/char/195:1 /dev/char/195:255", "GPU-11111111-1111-1111-1111-111111111111"},
		"both":   {"char-nvidia-uvm /dev/char/195:0 /dev/char/195:1 /dev/char/195:255", ""},
	}
	for name, want := range want {
		s, err := NewServer(host, facts, *host.Server(name))
		if err != nil {
			t.Fatal(err)
		}
		service := unit(t, s).Service
		var devices []string
		for _, d := range service.DeviceAllow {
			devices = append(devices, d.Device)
		}
		if got := strings.Join(devices, " "); got != want.devices {
			t.Errorf("%s may open %s, want %s", name, got, want.devices)
		}
		if got := service.Environment["CUDA_VISIBLE_DEVICES"]; got != want.visible {
			t.Errorf("%s sees the cards %q, want %q", name, got, want.visible)
		}
	}
	unprobed := clone(t, facts)
	for i := range unprobed.GPUs {
		unprobed.GPUs[i].Node = ""
	}
	_, err := NewServer(host, unprobed, *host.Server("second"))
	if err == nil || !strings.Contains(err.Error(), "two-gpus.hcl:") || !strings.Contains(err.Error(), "run llmhost probe -s two-gpus again") {
		t.Errorf("a card was chosen on assumptions: %v", err)
	}
	if _, err := NewServer(host, unprobed, *host.Server("both")); err != nil {
		t.Errorf("a server that gets every card needs to know none of them: %v", err)
	}
}

// Of servers that take turns the first one starts by itself, and systemd stops one before it starts another.
func TestServersTakeTurns(t *testing.T) {
	host, facts := load(t, "desktop")
	for i := range host.Servers {
		host.Servers[i].Exclusive = "large"
	}
	first, err := NewServer(host, facts, host.Servers[0])
	if err != nil {
		t.Fatal(err)
	}
	second, err := NewServer(host, facts, host.Servers[1])
	if err != nil {
		t.Fatal(err)
	}
	if !first.Starts() || second.Starts() {
		t.Errorf("the first starts by itself: %t, the second: %t", first.Starts(), second.Starts())
	}
	one, two := unit(t, first).Unit, unit(t, second).Unit
	if !cmp.Equal([]string(one.Conflicts), []string{"llmhost-embed.service"}) || !cmp.Equal([]string(two.Conflicts), []string{"llmhost-hybrid.service"}) {
		t.Errorf("they conflict with %v and %v", one.Conflicts, two.Conflicts)
	}
	if slices.Contains(one.After, "llmhost-embed.service") || !slices.Contains(two.After, "llmhost-hybrid.service") {
		t.Errorf("an order in both directions is a cycle, and in none they overlap: %v, %v", one.After, two.After)
	}
	host.Servers[0].Exclusive = ""
	if alone, err := NewServer(host, facts, host.Servers[0]); err != nil || len(unit(t, alone).Unit.Conflicts) > 0 || !alone.Starts() {
		t.Errorf("a server without a group conflicts with others (%v)", err)
	}
}
