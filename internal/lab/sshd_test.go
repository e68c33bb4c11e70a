package lab

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestSSHDLetsInItsKeyAlone(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := StartSSHD(ctx, filepath.Join(t.TempDir(), "a folder with 100% odd name"), SSHDOptions{MaxSessions: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	out, err := sshCommand(ctx, s.Address, s.Port, s.User, s.IdentityFile, s.KnownHostsFile, []string{"echo", "in"}).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "in" {
		t.Errorf("logging in: %v: %s", err, out)
	}

	other, err := StartSSHD(ctx, t.TempDir(), SSHDOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Stop() })
	if out, err := sshCommand(ctx, s.Address, s.Port, s.User, other.IdentityFile, s.KnownHostsFile, []string{"true"}).CombinedOutput(); err == nil {
		t.Errorf("another key was let in: %s", out)
	}
	if out, err := sshCommand(ctx, s.Address, s.Port, s.User, s.IdentityFile, other.KnownHostsFile, []string{"true"}).CombinedOutput(); err == nil {
		t.Errorf("the client took a server that isn't in its known_hosts: %s", out)
	}
}

func TestSSHDStopEndsItsSessions(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := StartSSHD(ctx, t.TempDir(), SSHDOptions{})
	if err != nil {
		t.Fatal(err)
	}
	session := sshCommand(ctx, s.Address, s.Port, s.User, s.IdentityFile, s.KnownHostsFile, []string{"echo here; cat"})
	if _, err := session.StdinPipe(); err != nil { // stays open, so that cat goes on
		t.Fatal(err)
	}
	stdout, err := session.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the session hasn't begun: %v", err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := session.Wait(); err == nil || ctx.Err() != nil {
		t.Errorf("the session went on after its server was stopped: %v, %v", err, ctx.Err())
	}
	if conn, err := net.Dial("tcp", net.JoinHostPort(s.Address, strconv.Itoa(s.Port))); err == nil {
		conn.Close()
		t.Error("the server still listens after it was stopped")
	}
}
