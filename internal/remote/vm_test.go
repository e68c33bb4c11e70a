package remote_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/internal/lab"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/remote/remotetest"
	"github.com/llmhost/llmhost/templates"
)

// guest is a virtual machine with a real sudo.
type guest struct{ *lab.VM }

func (g guest) target(user string) remote.Target {
	return remote.Target{HostID: "vm", Address: g.Address, Port: g.Port, User: user, Identity: g.IdentityFile, KnownHosts: g.KnownHostsFile}
}

// run runs a command as root, behind llmhost's back.
func (g guest) run(t *testing.T, command string) string {
	t.Helper()
	out, err := g.SSH(t.Context(), "root", command)
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

func TestVirtualMachine(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	vm, err := lab.Up(ctx, lab.Options{Name: "remote", Dir: filepath.Join(t.TempDir(), "vm"), Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vm.Down(); err != nil {
			t.Error(err)
		}
	})
	g := guest{vm}
	t.Run("Sudo", g.sudo)
	t.Run("Prepare", g.prepare)
	t.Run("Connection", func(t *testing.T) {
		n := 0
		remotetest.Run(t, func(t *testing.T) remotetest.Host {
			n++
			dir := fmt.Sprintf("/srv/test-%d", n)
			g.run(t, "mkdir "+dir)
			return remotetest.Host{
				Target: g.target("ops"), Options: vmOptions(), Dir: dir, Owner: "root", Group: "root",
				Write: func(t *testing.T, file, content string) { g.run(t, "printf %s '"+content+"' > "+file) },
				Kill:  func(t *testing.T) { g.run(t, "pkill -KILL -x llmhost-agent") },
				Cut:   func(t *testing.T) { g.run(t, "pkill -KILL -u ops sshd") },
			}
		})
	})
}

func vmOptions() remote.Options { return remote.Options{SSHConfig: "/dev/null"} }

// authorizePlain lets the lab's key log in as the administrator whose sudo wants a password.
func (g guest) authorizePlain(t *testing.T) {
	g.run(t, "install -d -o plain -g plain -m 700 ~plain/.ssh && install -o plain -g plain -m 600 ~ops/.ssh/authorized_keys ~plain/.ssh/")
}

func (g guest) sudo(t *testing.T) {
	if c := mustDial(t, g.target("ops"), vmOptions()); c.Hello().GetUid() != 0 || !c.Hello().GetSystemd() {
		t.Errorf("through sudo the agent says %v", c.Hello())
	}
	g.authorizePlain(t)
	_, err := dial(t, g.target("plain"), vmOptions())
	wantError(t, err, remote.ErrSudo, "may not become root without a password", "password is required", "llmhost bootstrap", "plain ALL=(root) NOPASSWD: /bin/sh")
}

func (g guest) prepare(t *testing.T) {
	admin := g.target("plain")
	key := filepath.Join(t.TempDir(), "deploy")
	public, created, err := remote.EnsureKey(key)
	if err != nil || !created {
		t.Fatalf("a new key: created is %v (%v)", created, err)
	}
	if again, created, err := remote.EnsureKey(key); err != nil || created || again != public {
		t.Errorf("the same key again: %q, created is %v (%v)", again, created, err)
	}
	var made, kept []string
	prepare := func(user, password string) error {
		made, kept = nil, nil
		return remote.Prepare(t.Context(), admin, vmOptions(), remote.Preparation{
			User: user, PublicKey: public,
			Password: func(context.Context, string) (string, error) { return password, nil },
			Step: func(new bool, what string) {
				what, _, _ = strings.Cut(what, " ")
				if new {
					made = append(made, what)
				} else {
					kept = append(kept, what)
				}
			},
		})
	}

	err = prepare("llmhost", "not the password")
	wantError(t, err, remote.ErrSudo, "password is wrong", "--admin-user")
	if strings.Contains(err.Error(), "not the password") {
		t.Errorf("the error shows the password: %v", err)
	}
	for _, name := range []string{"root", "Llm", "a;b", "", "-x"} {
		if err := prepare(name, "lab"); !errors.Is(err, remote.ErrTarget) {
			t.Errorf("deploy user %q: got %v, want it refused", name, err)
		}
	}

	steps := []string{"user", "key", "launcher", "sudo"}
	if err := prepare("llmhost", "lab"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(steps, made); diff != "" || len(kept) > 0 {
		t.Errorf("the first run kept %v and made: %s", kept, diff)
	}
	if err := prepare("llmhost", "lab"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(steps, kept); diff != "" || len(made) > 0 {
		t.Errorf("the second run made %v and kept: %s", made, diff)
	}

	deploy := g.target("llmhost")
	deploy.Identity = key
	if c := mustDial(t, deploy, vmOptions()); c.Hello().GetUid() != 0 {
		t.Errorf("the agent runs as user %d", c.Hello().GetUid())
	}
	elsewhere := deploy
	elsewhere.StateDir = "/srv/other"
	_, err = dial(t, elsewhere, vmOptions())
	wantError(t, err, remote.ErrSudo, remote.DefaultStateDir)

	for command, allowed := range map[string]bool{
		remote.LauncherPath:           true,
		remote.LauncherPath + " x":    false,
		"/bin/sh":                     false,
		"/usr/bin/cat /etc/shadow":    false,
		path.Dir(remote.LauncherPath): false,
	} {
		out, err := g.SSH(t.Context(), "root", "runuser -u llmhost -- sudo -n -l "+command)
		if (err == nil) != allowed {
			t.Errorf("sudo %s as the deploy user: allowed is %v, want %v\n%s", command, err == nil, allowed, out)
		}
	}
	if got := g.run(t, "stat -c '%U %a' "+remote.LauncherPath+" "+path.Dir(remote.LauncherPath)+" /etc/sudoers.d/llmhost"); got != "root 755\nroot 755\nroot 440\n" {
		t.Errorf("owners and modes:\n%s", got)
	}
	rule, err := templates.SudoRule{User: "llmhost", Launcher: remote.LauncherPath}.Text()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rule, g.run(t, "cat /etc/sudoers.d/llmhost")); diff != "" {
		t.Errorf("the sudo rule on the host: %s", diff)
	}
	if got := g.run(t, "passwd -S llmhost"); !strings.HasPrefix(got, "llmhost L ") {
		t.Errorf("the deploy user has a password: %s", got)
	}
	if got := g.run(t, "cat ~llmhost/.ssh/authorized_keys"); got != "restrict "+public+"\n" {
		t.Errorf("authorized_keys:\n%s", got)
	}
	if log := g.run(t, "journalctl --no-pager -o cat"); strings.Contains(log, "not the password") {
		t.Error("the machine's journal holds a password")
	}
}
