package remote_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/remote"
)

// sshd is an OpenSSH server on the loopback, with keys of its own, running as this user.
type sshd struct {
	dir        string
	port       int
	user       string
	identity   string
	knownHosts string
	hostKey    string // authorized_keys form
	stop       func()
}

// startSSHD starts a server. extra is appended to its configuration.
func startSSHD(t *testing.T, extra ...string) *sshd {
	t.Helper()
	binary, err := exec.LookPath("sshd")
	if err != nil {
		if binary = "/usr/sbin/sshd"; !isExecutable(binary) {
			t.Fatal("these tests need OpenSSH's server: apt-get install openssh-server")
		}
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &sshd{
		dir:        dir,
		user:       me.Username,
		identity:   filepath.Join(dir, "id"),
		knownHosts: filepath.Join(dir, "known_hosts"),
		port:       freePort(t),
	}
	keygen(t, "-t", "ed25519", "-f", filepath.Join(dir, "host_ed25519"))
	keygen(t, "-t", "ecdsa", "-f", filepath.Join(dir, "host_ecdsa"))
	keygen(t, "-t", "ed25519", "-f", s.identity)
	public := readFile(t, filepath.Join(dir, "host_ed25519.pub"))
	s.hostKey = strings.Join(strings.Fields(public)[:2], " ")
	writeFile(t, s.knownHosts, fmt.Sprintf("[127.0.0.1]:%d %s\n", s.port, s.hostKey))
	writeFile(t, filepath.Join(dir, "authorized_keys"), readFile(t, s.identity+".pub"))

	config := []string{
		"ListenAddress 127.0.0.1", "Port " + strconv.Itoa(s.port),
		// ecdsa comes first: a client that does not say which type it knows gets that one.
		"HostKey " + filepath.Join(dir, "host_ecdsa"),
		"HostKey " + filepath.Join(dir, "host_ed25519"),
		"AuthorizedKeysFile " + filepath.Join(dir, "authorized_keys"),
		"PidFile none", "StrictModes no", "UsePAM no", "UseDNS no",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password",
		"LogLevel VERBOSE",
	}
	file := filepath.Join(dir, "sshd_config")
	writeFile(t, file, strings.Join(append(config, extra...), "\n")+"\n")

	cmd := exec.Command(binary, "-D", "-e", "-f", file)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	s.stop = func() {
		_ = cmd.Process.Kill()
		<-exited
	}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("sshd said:\n%s", log.String())
		}
	})
	awaitPort(t, s.port, exited, &log)
	return s
}

func (s *sshd) target(t *testing.T) remote.Target {
	return remote.Target{
		HostID: "lab", Address: "127.0.0.1", Port: s.port, User: s.user,
		Identity: s.identity, KnownHosts: s.knownHosts, StateDir: t.TempDir(),
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

func awaitPort(t *testing.T, port int, exited <-chan struct{}, log *bytes.Buffer) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-exited:
			t.Fatalf("sshd ended:\n%s", log.String())
		case <-deadline:
			t.Fatal("sshd does not listen")
		case <-time.After(20 * time.Millisecond):
		}
	}
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

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
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
