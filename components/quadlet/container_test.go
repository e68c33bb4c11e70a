package quadlet

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/internal/hostfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

// servers are the servers of the hosts of testdata, by the names of their golden files.
func servers(t *testing.T) map[string]*inference.Server {
	t.Helper()
	all := map[string]*inference.Server{}
	for _, name := range []string{"desktop", "radeon"} {
		file := filepath.Join("testdata", name+".hcl")
		host, diags := hostfile.Load(file)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		facts, err := hostfile.LoadFacts(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, server := range host.Servers {
			s, err := inference.NewServer(host, facts, server)
			if err != nil {
				t.Fatal(err)
			}
			all[name+"-"+server.Name] = s
		}
	}
	return all
}

// A sandbox that gets worse shows here, in a review.
func TestQuadletsAreGolden(t *testing.T) {
	for name, s := range servers(t) {
		t.Run(name, func(t *testing.T) {
			text, err := Container(s).Text()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".container", text)
			running, err := json.MarshalIndent(Running(s), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".running.json", string(running)+"\n")
		})
	}
}

func golden(t *testing.T, name, text string) {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	// Paths of this machine are none of the golden files.
	text = strings.ReplaceAll(text, wd, "/src")
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What can't be written as it is meant is refused: how Podman's generator would quote it for
// systemd isn't promised.
func TestNothingIsWrittenThatWouldBeReadOtherwise(t *testing.T) {
	s := servers(t)["desktop-plain"]
	s.File = "/srv/my models/a.gguf"
	if _, err := Container(s).Text(); err == nil || !strings.Contains(err.Error(), "Volume=") || !strings.Contains(err.Error(), "my models") {
		t.Errorf("a path with a space: %v", err)
	}
}

// The server's id in the container is never that of the user who runs Podman.
func TestServerIsNotItsOwnersEqual(t *testing.T) {
	for name, s := range servers(t) {
		for _, user := range []string{"", "1000:1000", "70000:5"} {
			s.Server.User = user
			if c := Container(s).Container; c.User == "0" || c.Group != "0" || c.UserNS != "" {
				t.Errorf("%s as %q: %s:%s", name, user, c.User, c.Group)
			}
		}
	}
}
