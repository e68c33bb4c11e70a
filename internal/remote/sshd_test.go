package remote_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/lab"
	"github.com/llmhost/llmhost/internal/remote"
)

// sshd is an OpenSSH server on the loopback with keys of its own, which this user may log in
// to. It has a second host key that no known_hosts holds.
type sshd struct {
	*lab.SSHD
	dir string
}

// startSSHD starts a server. extra goes into its configuration.
func startSSHD(t *testing.T, extra ...string) *sshd {
	t.Helper()
	dir := t.TempDir()
	second := filepath.Join(dir, "host_ecdsa")
	keygen(t, "-t", "ecdsa", "-f", second)
	server, err := lab.StartSSHD(context.Background(), dir, lab.SSHDOptions{Config: append(extra,
		"HostKey "+second, // the first one: a client that does not say which type it knows gets it
		"AuthorizedKeysFile "+filepath.Join(dir, "authorized_keys"),
	)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("sshd said:\n%s", readFile(t, server.Log))
		}
	})
	s := &sshd{SSHD: server, dir: dir}
	s.authorize(t, server.IdentityFile+".pub")
	return s
}

// authorize makes a public key the only one that may log in.
func (s *sshd) authorize(t *testing.T, public string) {
	t.Helper()
	writeFile(t, filepath.Join(s.dir, "authorized_keys"), readFile(t, public))
}

func (s *sshd) target(t *testing.T) remote.Target {
	return remote.Target{
		HostID: "lab", Address: s.Address, Port: s.Port, User: s.User,
		Identity: s.IdentityFile, KnownHosts: s.KnownHostsFile, StateDir: t.TempDir(),
	}
}

// options are for hosts that are this user's own machine.
func options() remote.Options {
	return remote.Options{Unprivileged: true, ConnectTimeout: 2 * time.Second, SSHConfig: os.DevNull}
}

func dial(t *testing.T, target remote.Target, o remote.Options) (*remote.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := remote.Dial(ctx, target, o)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func mustDial(t *testing.T, target remote.Target, o remote.Options) *remote.Conn {
	t.Helper()
	c, err := dial(t, target, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func keygen(t *testing.T, args ...string) {
	t.Helper()
	if !strings.Contains(strings.Join(args, " "), "-N") {
		args = append(args, "-N", "")
	}
	if out, err := exec.Command("ssh-keygen", append([]string{"-q", "-C", "test"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
