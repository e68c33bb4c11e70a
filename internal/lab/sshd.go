package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

// SSHDOptions shape an SSH server.
type SSHDOptions struct {
	MaxSessions int      // sessions of one connection; 0 for OpenSSH's default of 10
	Config      []string // more lines of sshd_config(5); they win over the lab's own
	Env         []string // environment of the server, added to this process's
}

// SSHD is an OpenSSH server on loopback, with a host key and a port of its own. It runs as
// this process's user and lets in that user alone: what logs in is on this very machine.
type SSHD struct {
	Address        string // 127.0.0.1
	Port           int
	User           string
	IdentityFile   string
	KnownHostsFile string
	HostKey        string // as in known_hosts: "ssh-ed25519 AAAA…"
	Log            string // path of what the server logs

	cmd   *exec.Cmd
	ended chan struct{}
}

// StartSSHD starts an OpenSSH server whose files are in dir. It runs until [SSHD.Stop] or the
// context's end.
func StartSSHD(ctx context.Context, dir string, o SSHDOptions) (*SSHD, error) {
	program, err := lookPath("sshd")
	if err != nil {
		return nil, fmt.Errorf("no SSH server on this machine: install openssh-server (%w)", err)
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		// sshd of root wants its privilege separation folder, which systemd makes elsewhere.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	s := &SSHD{
		Address:        "127.0.0.1",
		User:           me.Username,
		IdentityFile:   filepath.Join(dir, "id_ed25519"),
		KnownHostsFile: filepath.Join(dir, "known_hosts"),
		Log:            filepath.Join(dir, "sshd.log"),
	}
	hostKey := filepath.Join(dir, "host_key")
	for _, path := range []string{s.IdentityFile, hostKey} {
		if _, err := os.Stat(path); err == nil {
			continue // a server that is started again keeps its keys
		}
		out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "llmhost-lab", "-f", path).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("ssh-keygen: %w\n%s", err, out)
		}
	}
	public, err := os.ReadFile(hostKey + ".pub")
	if err != nil {
		return nil, err
	}
	s.HostKey = strings.Join(strings.Fields(string(public))[:2], " ")

	const attempts = 5
	for attempt := 1; ; attempt++ {
		if s.Port, err = freePort(); err != nil {
			return nil, err
		}
		err = s.start(ctx, program, dir, hostKey, o)
		// The port may have been taken in between.
		if err != nil && attempt < attempts && strings.Contains(err.Error(), "Address already in use") {
			continue
		}
		if err != nil {
			return nil, err
		}
		return s, nil
	}
}

// PID is the server's process. Its children are its sessions.
func (s *SSHD) PID() int { return s.cmd.Process.Pid }

func (s *SSHD) start(ctx context.Context, program, dir, hostKey string, o SSHDOptions) error {
	// sshd takes the first line of a setting.
	lines := append([]string{}, o.Config...)
	lines = append(lines,
		"ListenAddress 127.0.0.1",
		"Port "+strconv.Itoa(s.Port),
		"HostKey "+strconv.Quote(hostKey),
		"AuthorizedKeysFile "+quoteOption(s.IdentityFile+".pub"),
		"PidFile none",
		"StrictModes no", // the folder may be below a world-writable one
		"UsePAM no",
		"UseDNS no",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"PermitRootLogin prohibit-password",
		"Subsystem sftp internal-sftp",
		"LogLevel VERBOSE",
	)
	if o.MaxSessions > 0 {
		lines = append(lines, "MaxSessions "+strconv.Itoa(o.MaxSessions))
	}
	config := filepath.Join(dir, "sshd_config")
	if err := atomicfile.Write(config, []byte(strings.Join(lines, "\n")+"\n")); err != nil {
		return err
	}
	if err := atomicfile.Write(s.KnownHostsFile, []byte(knownHostsLine(s.Address, s.Port, s.HostKey))); err != nil {
		return err
	}
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.CommandContext(ctx, program, "-D", "-e", "-f", config)
	s.cmd.Env = append(os.Environ(), o.Env...)
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("starting sshd: %w", err)
	}
	s.ended = make(chan struct{})
	go func() {
		s.cmd.Wait() // its log says more than its exit code
		close(s.ended)
	}()
	if err := s.awaitBanner(ctx); err != nil {
		return errors.Join(err, s.Stop())
	}
	return nil
}

// awaitBanner waits until the server greets.
func (s *SSHD) awaitBanner(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if greets(ctx, net.JoinHostPort(s.Address, strconv.Itoa(s.Port))) {
			select {
			case <-s.ended: // another's server has greeted
			default:
				return nil
			}
		}
		select {
		case <-s.ended:
			return fmt.Errorf("sshd ended at once: %s", fileTail(s.Log))
		case <-ctx.Done():
			return fmt.Errorf("sshd doesn't answer: %w\n%s", ctx.Err(), fileTail(s.Log))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func greets(ctx context.Context, address string) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	banner := make([]byte, 4)
	n, _ := conn.Read(banner)
	return bytes.Equal(banner[:n], []byte("SSH-"))
}

// Stop ends the server and every session that it has.
func (s *SSHD) Stop() error {
	select {
	case <-s.ended:
		return nil
	default:
	}
	// Sessions are processes of their own, and survive their server. It is stopped first, so
	// that no session begins while they are looked for.
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending sshd: %w", err)
	}
	sessions := descendants(s.cmd.Process.Pid)
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending sshd: %w", err)
	}
	<-s.ended
	var errs []error
	for _, session := range sessions {
		if err := session.kill(); err != nil {
			errs = append(errs, fmt.Errorf("ending a session of sshd: %w", err))
		}
	}
	return errors.Join(errs...)
}
