package lab

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The line is for OpenSSH, so OpenSSH is asked whether it finds the host in it.
func TestKnownHostsLineIsFoundByOpenSSH(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPbDUpMOWFbqpyV2bVRIPs5Y1gGPBYSgCJRl3nTJsGQX"
	for _, tt := range []struct {
		name string
		port int
		find string
	}{
		{"a port", 22870, "[127.0.0.1]:22870"},
		{"the default port", 22, "127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "known_hosts")
			if err := os.WriteFile(file, []byte(knownHostsLine("127.0.0.1", tt.port, key)), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("ssh-keygen", "-F", tt.find, "-f", file).CombinedOutput(); err != nil {
				t.Errorf("OpenSSH doesn't find %s: %v\n%s", tt.find, err, out)
			}
			if out, err := exec.Command("ssh-keygen", "-F", "[127.0.0.1]:1", "-f", file).CombinedOutput(); err == nil {
				t.Errorf("OpenSSH finds the host on another port:\n%s", out)
			}
		})
	}
}

// listening is a port of loopback that something listens on.
func listening(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}
