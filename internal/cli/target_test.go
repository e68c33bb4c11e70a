package cli

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/hostfile"
)

func TestServerOf(t *testing.T) {
	one := &hostfile.Host{File: "hosts/h.hcl", Servers: []hostfile.Server{{Name: "fast"}}}
	two := &hostfile.Host{File: "hosts/h.hcl", Servers: []hostfile.Server{{Name: "fast"}, {Name: "big"}}}
	for _, tc := range []struct {
		host *hostfile.Host
		name string
		want string
		part string
	}{
		{one, "", "fast", ""},
		{two, "big", "big", ""},
		{two, "", "", "fast, big"},
		{two, "slow", "", "fast, big"},
		{&hostfile.Host{File: "hosts/h.hcl"}, "", "", "declares no server"},
	} {
		got, err := serverOf(tc.host, tc.name)
		if tc.part != "" {
			if err == nil || !strings.Contains(err.Error(), tc.part) {
				t.Errorf("%q: got %v, want %q", tc.name, err, tc.part)
			}
		} else if err != nil || got.Name != tc.want {
			t.Errorf("%q: got %v (%v), want %q", tc.name, got, err, tc.want)
		}
	}
}

func TestAddressOf(t *testing.T) {
	unix := &hostfile.Server{Name: "fast", Listen: hostfile.Listen{Unix: true}}
	if got := addressOf(unix); got != "unix:/run/llmhost/fast/llm.sock" {
		t.Errorf("got %q", got)
	}
	tcp := &hostfile.Server{Listen: hostfile.Listen{Addr: netip.MustParseAddrPort("127.0.0.1:8002")}}
	if got := addressOf(tcp); got != "tcp:127.0.0.1:8002" {
		t.Errorf("got %q", got)
	}
}

// Every setting of the ssh block must reach the connection.
func TestTargetOfTakesEverySetting(t *testing.T) {
	full := hostfile.SSH{Address: "a", Port: 1, User: "u", Identity: "i", KnownHosts: "k", HostKey: "h", Jump: "j"}
	complete := targetOf(&hostfile.Host{Name: "desk", SSH: &full})
	for i := range reflect.TypeOf(full).NumField() {
		field := reflect.TypeOf(full).Field(i)
		if field.Name == "Place" {
			continue
		}
		without := full
		value := reflect.ValueOf(&without).Elem().Field(i)
		value.SetZero()
		if targetOf(&hostfile.Host{Name: "desk", SSH: &without}) == complete {
			t.Errorf("%s makes no difference", field.Name)
		}
	}
	if complete.HostID != "desk" || complete.Local {
		t.Errorf("got %+v", complete)
	}
	if local := targetOf(&hostfile.Host{Name: "here", Local: &hostfile.Local{}}); !local.Local || local.HostID != "here" {
		t.Errorf("a local host became %+v", local)
	}
}
