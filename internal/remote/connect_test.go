package remote_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/remote"
)

func TestOnlyTheKnownKeyTypeIsAskedFor(t *testing.T) {
	// The server prefers ecdsa and known_hosts holds ed25519 alone: no false alarm.
	s := startSSHD(t)
	mustDial(t, s.target(t), options())
}

func TestUnknownHostKeyIsRefused(t *testing.T) {
	s := startSSHD(t)
	for name, content := range map[string]string{"missing file": "", "other hosts only": "other.example " + s.HostKey + "\n"} {
		t.Run(name, func(t *testing.T) {
			target := s.target(t)
			target.KnownHosts = filepath.Join(t.TempDir(), "known_hosts")
			if content != "" {
				writeFile(t, target.KnownHosts, content)
			}
			_, err := dial(t, target, options())
			wantError(t, err, remote.ErrHostKey, "is not known", "SHA256:", "ssh-keygen -lf", "host_key = ", "llmhost bootstrap")
		})
	}
}

func TestWrongHostKeyShowsBothFingerprints(t *testing.T) {
	s := startSSHD(t)
	keygen(t, "-t", "ed25519", "-f", filepath.Join(s.dir, "other"))
	other := strings.Join(strings.Fields(readFile(t, filepath.Join(s.dir, "other.pub")))[:2], " ")
	expected := fingerprint(t, filepath.Join(s.dir, "other.pub"))
	presented := fingerprint(t, filepath.Join(s.dir, "host_key.pub"))

	t.Run("known_hosts", func(t *testing.T) {
		target := s.target(t)
		target.KnownHosts = filepath.Join(t.TempDir(), "known_hosts")
		writeFile(t, target.KnownHosts, fmt.Sprintf("# comment\n[127.0.0.1]:%d %s\n", s.Port, other))
		_, err := dial(t, target, options())
		wantError(t, err, remote.ErrHostKey, expected, presented, target.KnownHosts+":2", "somebody is between")
	})
	t.Run("pinned", func(t *testing.T) {
		target := s.target(t) // whose known_hosts is right: the pin wins
		target.HostKey = other
		_, err := dial(t, target, options())
		wantError(t, err, remote.ErrHostKey, expected, presented, "host_key of the host file", "somebody is between")
	})
	t.Run("type that the host does not have", func(t *testing.T) {
		keygen(t, "-t", "rsa", "-b", "2048", "-f", filepath.Join(s.dir, "rsa"))
		target := s.target(t)
		target.HostKey = readFile(t, filepath.Join(s.dir, "rsa.pub"))
		_, err := dial(t, target, options())
		wantError(t, err, remote.ErrHostKey, fingerprint(t, filepath.Join(s.dir, "rsa.pub")), "offers only", "somebody is between")
	})
}

func TestPinnedKeyNeedsNoKnownHosts(t *testing.T) {
	s := startSSHD(t)
	target := s.target(t)
	target.KnownHosts = filepath.Join(t.TempDir(), "absent")
	target.HostKey = s.HostKey
	mustDial(t, target, options())
}

func TestHashedKnownHosts(t *testing.T) {
	s := startSSHD(t)
	if out, err := exec.Command("ssh-keygen", "-H", "-f", s.KnownHostsFile).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.HasPrefix(readFile(t, s.KnownHostsFile), "|1|") {
		t.Fatal("the file was not hashed")
	}
	mustDial(t, s.target(t), options())
}

func TestRevokedKeyIsRefused(t *testing.T) {
	s := startSSHD(t)
	writeFile(t, s.KnownHostsFile, readFile(t, s.KnownHostsFile)+"@revoked * "+s.HostKey+"\n")
	_, err := dial(t, s.target(t), options())
	wantError(t, err, remote.ErrHostKey, "revoked", s.KnownHostsFile+":2")
}

func TestCertificateAuthorityIsHonoured(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	keygen(t, "-t", "ed25519", "-f", ca)
	keygen(t, "-t", "ed25519", "-f", filepath.Join(dir, "host"))
	if out, err := exec.Command("ssh-keygen", "-q", "-s", ca, "-I", "lab", "-h", "-n", "127.0.0.1", filepath.Join(dir, "host.pub")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := startSSHD(t, "HostKey "+filepath.Join(dir, "host"), "HostCertificate "+filepath.Join(dir, "host-cert.pub"))
	target := s.target(t)
	target.KnownHosts = filepath.Join(dir, "known_hosts")
	writeFile(t, target.KnownHosts, fmt.Sprintf("@cert-authority [127.0.0.1]:%d %s", s.Port, readFile(t, ca+".pub")))
	mustDial(t, target, options())
}

func TestLoginRefused(t *testing.T) {
	s := startSSHD(t)
	target := s.target(t)
	target.Identity = filepath.Join(t.TempDir(), "stranger")
	keygen(t, "-t", "ed25519", "-f", target.Identity)
	start := time.Now()
	o := options()
	o.ConnectTimeout = time.Hour
	_, err := dial(t, target, o)
	wantError(t, err, remote.ErrAuth, "refuses the login", s.User, target.Identity, "authorized_keys")
	if time.Since(start) > 30*time.Second {
		t.Error("a refused login was tried again")
	}

	target.Identity = filepath.Join(t.TempDir(), "absent")
	_, err = dial(t, target, options())
	wantError(t, err, remote.ErrAuth, "does not exist", target.Identity)
}

func TestEncryptedKey(t *testing.T) {
	s := startSSHD(t)
	if out, err := exec.Command("ssh-keygen", "-q", "-p", "-f", s.IdentityFile, "-P", "", "-N", "open sesame").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Run("right passphrase", func(t *testing.T) {
		o := options()
		asked := 0
		o.Passphrase = func(_ context.Context, prompt string) (string, error) {
			asked++
			if !strings.Contains(prompt, s.IdentityFile) {
				t.Errorf("the prompt %q does not name the key", prompt)
			}
			return "open sesame", nil
		}
		mustDial(t, s.target(t), o)
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
	})
	t.Run("wrong passphrase", func(t *testing.T) {
		o := options()
		o.Passphrase = func(context.Context, string) (string, error) { return "wrong", nil }
		_, err := dial(t, s.target(t), o)
		wantError(t, err, remote.ErrAuth, "passphrase does not open", s.IdentityFile)
		if strings.Contains(err.Error(), "wrong") {
			t.Error("the error shows the passphrase")
		}
	})
	t.Run("nobody to ask", func(t *testing.T) {
		o := options()
		o.Passphrase = func(context.Context, string) (string, error) { return "", errors.New("there is no terminal to ask on") }
		_, err := dial(t, s.target(t), o)
		wantError(t, err, remote.ErrAuth, "is encrypted", "no terminal", "ssh-add")
	})
	t.Run("held by ssh-agent", func(t *testing.T) {
		socket := startKeyAgent(t)
		add := exec.Command("ssh-add", "-q", s.IdentityFile)
		ask := filepath.Join(t.TempDir(), "askpass")
		if err := os.WriteFile(ask, []byte("#!/bin/sh\necho open sesame\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket, "SSH_ASKPASS="+ask, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=x")
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("ssh-add: %v\n%s", err, out)
		}
		t.Setenv("SSH_AUTH_SOCK", socket)
		o := options()
		o.Passphrase = func(context.Context, string) (string, error) {
			t.Error("asked for a passphrase although ssh-agent holds the key")
			return "", errors.New("no")
		}
		mustDial(t, s.target(t), o)

		noIdentity := s.target(t)
		noIdentity.Identity = ""
		mustDial(t, noIdentity, o)
	})
}

func TestAliasOfTheSSHConfiguration(t *testing.T) {
	s := startSSHD(t)
	config := filepath.Join(t.TempDir(), "config")
	writeFile(t, config, fmt.Sprintf("Host desk\n  HostName 127.0.0.1\n  Port %d\n  User %s\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n",
		s.Port, s.User, s.IdentityFile, s.KnownHostsFile))
	for _, with := range []string{"OpenSSH", "no OpenSSH"} {
		t.Run(with, func(t *testing.T) {
			if with == "no OpenSSH" {
				t.Setenv("PATH", t.TempDir())
			}
			o := options()
			o.SSHConfig = config
			mustDial(t, remote.Target{HostID: "desk", Address: "desk", StateDir: t.TempDir()}, o)

			_, err := dial(t, remote.Target{HostID: "desk", Address: "desk", Port: freePort(t), StateDir: t.TempDir()}, o)
			wantError(t, err, remote.ErrUnreachable, "refuses the connection")
		})
	}
}

func TestProxyCommandIsNotSilentlyIgnored(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	writeFile(t, config, "Host desk\n  ProxyCommand nc %h %p\n")
	o := options()
	o.SSHConfig = config
	_, err := dial(t, remote.Target{Address: "desk"}, o)
	wantError(t, err, remote.ErrTarget, "ProxyCommand", "jump")
}

func TestProxyJump(t *testing.T) {
	inner, outer, first := startSSHD(t), startSSHD(t), startSSHD(t)
	known := filepath.Join(t.TempDir(), "known_hosts")
	writeFile(t, known, readFile(t, inner.KnownHostsFile)+readFile(t, outer.KnownHostsFile)+readFile(t, first.KnownHostsFile))
	for _, s := range []*sshd{outer, first} {
		s.authorize(t, inner.IdentityFile+".pub")
	}
	target := inner.target(t)
	target.KnownHosts = known
	target.Jump = fmt.Sprintf("%s@127.0.0.1:%d,127.0.0.1:%d", first.User, first.Port, outer.Port)
	c := mustDial(t, target, options())
	if c.Hello().GetProtocol() == 0 {
		t.Error("no answer through the jump hosts")
	}

	t.Run("the jump host's key is checked too", func(t *testing.T) {
		writeFile(t, known, readFile(t, inner.KnownHostsFile)+readFile(t, outer.KnownHostsFile))
		_, err := dial(t, target, options())
		wantError(t, err, remote.ErrHostKey, fmt.Sprintf("127.0.0.1:%d", first.Port))
	})
	t.Run("a jump host that can't go on", func(t *testing.T) {
		target := target
		target.KnownHosts = known
		target.Jump = fmt.Sprintf("127.0.0.1:%d", outer.Port)
		target.Port = freePort(t)
		_, err := dial(t, target, options())
		wantError(t, err, remote.ErrUnreachable, "jump host can't reach")
	})
}

func TestSilentServerIsGivenUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	target := remote.Target{Address: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Identity: newKey(t), HostKey: readFile(t, newKey(t)+".pub")}
	o := options()
	o.HandshakeTimeout, o.ConnectTimeout = 200*time.Millisecond, time.Millisecond
	_, err = dial(t, target, o)
	wantError(t, err, remote.ErrUnreachable, "no SSH handshake within 200ms")

	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		o := options()
		o.HandshakeTimeout = time.Hour
		done := make(chan error)
		go func() {
			_, err := remote.Dial(ctx, target, o)
			done <- err
		}()
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want a cancellation", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a cancelled connection hangs")
		}
	})
}

func TestTooFewChannels(t *testing.T) {
	s := startSSHD(t, "MaxSessions 1")
	c := mustDial(t, s.target(t), options())
	_, _, err := c.Bulk(t.Context())
	wantError(t, err, remote.ErrStart, "no channel", "MaxSessions")
	if err := c.Err(); err != nil {
		t.Errorf("the connection itself suffered: %v", err)
	}
}

func TestNetworkFailuresAreTriedAgain(t *testing.T) {
	s := startSSHD(t)
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	go func() { // drops two connections, as an overloaded sshd does, and passes the third
		for i := 0; ; i++ {
			c, err := front.Accept()
			if err != nil {
				return
			}
			if i < 2 {
				c.Close()
				continue
			}
			go proxy(c, fmt.Sprintf("127.0.0.1:%d", s.Port))
		}
	}()
	target := s.target(t)
	target.Port = front.Addr().(*net.TCPAddr).Port
	target.HostKey = s.HostKey
	var said []string
	o := options()
	o.ConnectTimeout = 30 * time.Second
	o.Log = func(line string) { said = append(said, line) }
	mustDial(t, target, o)
	if text := strings.Join(said, "\n"); !strings.Contains(text, "trying again") {
		t.Errorf("nothing was said about the waiting: %q", text)
	}
}

func TestTargetsThatAShellOrSSHCouldMisread(t *testing.T) {
	for _, target := range []remote.Target{
		{},
		{Address: "-oProxyCommand=x"},
		{Address: "host name"},
		{Address: "h", User: "-l"},
		{Address: "h", Jump: "-J"},
		{Address: "h", Port: 70000},
		{Local: true, StateDir: "relative"},
		{Local: true, StateDir: "/tmp/x; reboot"},
		{Local: true, StateDir: "/tmp/$(id)"},
		{Local: true, StateDir: "/tmp/../etc"},
		{Local: true, StateDir: "/"},
	} {
		_, err := dial(t, target, options())
		if !errors.Is(err, remote.ErrTarget) {
			t.Errorf("%+v: got %v, want it refused as a target", target, err)
		}
	}
}

func wantError(t *testing.T, err, kind error, parts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want %q", err, kind)
	}
	var e *remote.Error
	if !errors.As(err, &e) {
		t.Fatalf("%T is no *remote.Error", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q:\n%s", part, err)
		}
	}
	if strings.Contains(err.Error(), "rpc error") || strings.Contains(err.Error(), "ssh: handshake failed") {
		t.Errorf("the error shows a library's words:\n%s", err)
	}
}

func newKey(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	keygen(t, "-t", "ed25519", "-f", path)
	return path
}

func fingerprint(t *testing.T, public string) string {
	t.Helper()
	out, err := exec.Command("ssh-keygen", "-lf", public).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))[1]
}

func startKeyAgent(t *testing.T) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "a") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	cmd := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return socket
		}
		select {
		case <-t.Context().Done():
			t.Fatal("ssh-agent does not listen")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// proxy copies both ways until either side ends.
func proxy(c net.Conn, address string) {
	defer c.Close()
	up, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer up.Close()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{up, c}, {c, up}} {
		go func() {
			buffer := make([]byte, 32<<10)
			for {
				n, err := pair[1].Read(buffer)
				if n > 0 {
					if _, err := pair[0].Write(buffer[:n]); err != nil {
						break
					}
				}
				if err != nil {
					break
				}
			}
			done <- struct{}{}
		}()
	}
	<-done
}
