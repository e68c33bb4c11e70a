package runtimes

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/secrets"
	"github.com/llmhost/llmhost/internal/secrets/secretstest"
	"github.com/llmhost/llmhost/test/vmtest"
)

// keyedServer is a server that asks its clients for a key.
func keyedServer() string {
	server := vmtest.ModelServer("keyed")
	return strings.Replace(server, `context = 1024`, "context = 1024\n    api_key = \"family\"", 1) + `
  secret "family" {
    overlap = "1h"
  }
  secret "signing" {
    kind = "hmac"
  }`
}

// Keys are made, delivered, used, rotated and watched by the real programs, and none of them is
// anywhere in clear but in the running server's own file system in memory: not in the state and
// its history, the settings, what any command printed at any level of detail, the arguments and
// variables of any process on both machines while that went on, the host's disk as it is from
// outside, its journal, its files in memory, and git. Each search finds a key that was put there.
func TestSecretsAreNowhereInClear(t *testing.T) {
	p := vmtest.NewProject(t)
	hunt := newHunt(t, p)
	p.Host("keys", keyedServer())
	p.DestroyAtEnd("keys")
	before := vmtest.On(t, vmtest.Footprint)

	hunt.run(0, "secrets", "generate", "-s", "keys")
	first := hunt.collect("first")
	hunt.run(0, "secrets", "list", "-s", "keys", "--json")
	hunt.run(0, "preview", "-s", "keys", "--diff", "--show-secrets=false", "--logtostderr", "-v=11")
	hunt.run(0, "up", "-s", "keys", "--yes", "--diff", "--debug", "--non-interactive", "--logtostderr", "-v=11")
	hunt.run(0, "stack", "export", "-s", "keys")

	t.Run("the server asks for its key", func(t *testing.T) {
		if r := hunt.run(0, "ask", "-s", "keys", "Hello"); strings.TrimSpace(r.Stdout) == "" {
			t.Errorf("no answer: %s", r.All())
		}
		tunnel := openTunnel(t, p)
		for name, c := range map[string]struct {
			key  string
			want int
		}{
			"its key": {first["family"], 200}, "no key": {"", 401}, "another secret": {first["signing"], 401}, "a wrong key": {secrets.NewKey(hostfile.SecretAPIKey), 401},
		} {
			if got := tunnel.ask(c.key); got != c.want {
				t.Errorf("%s: HTTP %d, want %d", name, got, c.want)
			}
		}
	})
	t.Run("only the server sees it", func(t *testing.T) {
		pid := vmtest.On(t, "systemctl show -P MainPID llmhost-keyed.service")
		file := "/run/credentials/llmhost-keyed.service/keyed-api-key"
		inside := "/proc/" + pid + "/root" + file
		if got := vmtest.On(t, "cat "+inside); got != first["family"] {
			t.Error("the server doesn't have its key where its argument says")
		}
		if got := vmtest.On(t, "stat -f -c %T "+inside); got != "ramfs" && got != "tmpfs" {
			t.Errorf("it is on a %s", got)
		}
		for _, user := range []string{"nobody", "ops"} {
			if _, err := vmtest.TryOn("runuser -u " + user + " -- cat " + file); err == nil {
				t.Errorf("%s can read it", user)
			}
		}
		if got := vmtest.On(t, "stat -c '%a %U' /etc/llmhost/credentials/keyed-api-key"); got != "600 root" {
			t.Errorf("the sealed file: %s", got)
		}
	})
	p.NoDrift("keys")

	t.Run("what somebody does to it is drift", func(t *testing.T) {
		const file = "/etc/llmhost/credentials/keyed-api-key"
		seal := "systemd-creds encrypt --name=keyed-api-key - " + file + ".new && chmod 600 " + file + ".new && mv " + file + ".new " + file
		for _, c := range []struct {
			name, do, want string
			findings       int
		}{
			{"the same secret, sealed again", "systemd-creds decrypt --name=keyed-api-key " + file + " - | " + seal, "encrypted again by somebody else", 1},
			// Without its key the server can't be asked, either, which is a finding of the unit.
			{"another secret", "echo another | " + seal, "another secret (keyed digest ", 2},
		} {
			vmtest.On(t, c.do)
			found := p.Drift("keys")
			if len(found) != c.findings || found[0].Property != "condition" || !strings.HasPrefix(fmt.Sprint(found[0].Have), c.want) {
				t.Errorf("%s: drift reports %+v", c.name, found)
			}
		}
		hunt.run(0, "up", "-s", "keys", "--yes", "--skip-preview", "--refresh", "--non-interactive")
	})

	t.Run("a rotation overlaps", func(t *testing.T) {
		hunt.run(0, "secrets", "rotate", "family", "-s", "keys")
		second := hunt.collect("second")
		hunt.run(0, "up", "-s", "keys", "--yes", "--skip-preview", "--non-interactive")
		tunnel := openTunnel(t, p)
		for name, key := range map[string]string{"the new key": second["family"], "the old key": first["family"]} {
			if got := tunnel.ask(key); got != 200 {
				t.Errorf("%s: HTTP %d", name, got)
			}
		}
		tunnel.close()
		hunt.run(0, "secrets", "rotate", "family", "--now", "-s", "keys")
		third := hunt.collect("third")
		hunt.run(0, "up", "-s", "keys", "--yes", "--skip-preview", "--non-interactive")
		tunnel = openTunnel(t, p)
		for name, c := range map[string]struct {
			key  string
			want int
		}{"the new key": {third["family"], 200}, "the one before": {second["family"], 401}, "the first": {first["family"], 401}} {
			if got := tunnel.ask(c.key); got != c.want {
				t.Errorf("after a rotation at once, %s: HTTP %d, want %d", name, got, c.want)
			}
		}
	})

	t.Run("failures say nothing of it", func(t *testing.T) {
		p.HostAt("keys", "127.0.0.1", 1, keyedServer())
		if r := hunt.any("up", "-s", "keys", "--yes", "--skip-preview", "--refresh", "--non-interactive", "--debug", "--logtostderr", "-v=11"); r.Code == 0 {
			t.Errorf("it deploys without a host: %s", tail(r.All()))
		}
		p.Host("keys", keyedServer())
	})

	hunt.search()
	hunt.run(0, "destroy", "-s", "keys", "--yes", "--skip-preview", "--non-interactive", "--debug", "--logtostderr", "-v=11")
	vmtest.Settled(t, before)
}

// The unit that a deployment writes for a container's keys opens them into memory, for the one user
// that the container runs as, and they are gone with it.
func TestKeysOfAContainerAreOpenedIntoMemory(t *testing.T) {
	p := vmtest.NewProject(t)
	p.Host("contained", fmt.Sprintf(`
  engine "llama.cpp" {
    image = "example.org/llama@sha256:%s"
  }
  model "tiny" {
    source = %q
    sha256 = %q
  }
  secret "family" {}
  server "chat" {
    engine  = "llama.cpp"
    runtime = "compose"
    model   = "tiny"
    memory  = "1GiB"
    user    = "1234:1235"
    api_key = "family"
  }`, strings.Repeat("a", 64), vmtest.Model.Path, vmtest.Model.SHA256))
	rendered := filepath.Join(t.TempDir(), "rendered")
	p.Must("render", "-s", "contained", "-o", rendered)
	const unit = "llmhost-key@chat.service"
	text, err := os.ReadFile(filepath.Join(rendered, "etc/systemd/system", unit))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		vmtest.On(t, "systemctl stop "+unit+"; rm -rf /etc/llmhost/credentials /run/systemd/system/"+unit+"; rmdir /etc/llmhost /run/llmhost-secrets 2>/dev/null; systemctl daemon-reload")
	})
	vmtest.On(t, "mkdir -p /etc/llmhost/credentials && echo a key | systemd-creds encrypt --name=chat-api-key - /etc/llmhost/credentials/chat-api-key && "+
		"base64 -d > /run/systemd/system/"+unit+" <<< "+base64.StdEncoding.EncodeToString(text)+" && systemctl daemon-reload && systemctl start "+unit)
	const file = "/run/llmhost-secrets/chat/chat-api-key"
	if got := vmtest.On(t, "stat -c '%a %u:%g' "+file+"; stat -f -c %T "+file+"; cat "+file); got != "400 1234:1235\ntmpfs\na key" {
		t.Errorf("the file of keys: %s", got)
	}
	vmtest.On(t, "systemctl stop "+unit)
	vmtest.Absent(t, "/run/llmhost-secrets/chat")
}

// tunnel is an open `llmhost tunnel`.
type tunnel struct {
	t    *testing.T
	url  string
	stop func()
}

func openTunnel(t *testing.T, p *vmtest.Project) *tunnel {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := p.Command(ctx, "tunnel", "-s", "keys", "--port", "0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	u := &tunnel{t: t}
	done := false
	u.stop = func() {
		if !done {
			done = true
			cancel()
			_ = cmd.Wait() // it was killed
		}
	}
	t.Cleanup(u.stop)
	line := make([]byte, 512)
	n, err := out.Read(line)
	if err != nil {
		t.Fatalf("the tunnel doesn't open: %v", err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	u.url, _, _ = strings.Cut(string(line[:n]), " ")
	return u
}

func (u *tunnel) close() { u.stop() }

// ask sends a question with a key and returns the status.
func (u *tunnel) ask(key string) int {
	u.t.Helper()
	req, err := http.NewRequest(http.MethodPost, u.url+"/v1/chat/completions",
		strings.NewReader(`{"model":"tiny","messages":[{"role":"user","content":"Hello"}],"max_tokens":1}`))
	if err != nil {
		u.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	client := http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// hunt gathers what was written and shown while secrets were around, and the secrets.
type hunt struct {
	t       *testing.T
	p       *vmtest.Project
	needles *secretstest.Needles
	said    bytes.Buffer // by every command
	watch   *watch
}

func newHunt(t *testing.T, p *vmtest.Project) *hunt {
	h := &hunt{t: t, p: p, needles: secretstest.NewNeedles()}
	h.watch = watchProcesses(t)
	return h
}

// run runs llmhost, keeps what it says, and fails the test if it doesn't end as wanted.
func (h *hunt) run(code int, args ...string) vmtest.Result {
	h.t.Helper()
	r := h.any(args...)
	if r.Code != code {
		h.t.Fatalf("llmhost %s ended with %d:\n%s", strings.Join(args, " "), r.Code, tail(r.All()))
	}
	return r
}

func (h *hunt) any(args ...string) vmtest.Result {
	h.t.Helper()
	r := h.p.Run(args...)
	fmt.Fprintf(&h.said, "$ llmhost %s\n%s\n", strings.Join(args, " "), r.All())
	return r
}

func tail(text string) string { return text[max(0, len(text)-4000):] }

// collect takes the current keys, by an export to a folder that isn't searched.
func (h *hunt) collect(label string) map[string]string {
	h.t.Helper()
	folder := filepath.Join(h.t.TempDir(), "keys")
	h.run(0, "secrets", "export", "-s", "keys", "-o", folder)
	keys := map[string]string{}
	for _, name := range []string{"family", "signing"} {
		raw, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			h.t.Fatal(err)
		}
		keys[name] = strings.TrimSpace(string(raw))
		h.needles.Add(label+" "+name, keys[name])
	}
	return keys
}

// search looks everywhere, after a key that was put into each place has been found there.
func (h *hunt) search() {
	t := h.t
	t.Helper()
	decoy := secrets.NewKey(hostfile.SecretAPIKey)
	planted := secretstest.NewNeedles()
	planted.Add("planted", decoy)

	// On the host: in a file on the disk that is then deleted, in one in memory, in the journal,
	// and in a process's arguments.
	vmtest.On(t, "echo "+decoy+" > /var/tmp/planted && sync && rm /var/tmp/planted && echo "+decoy+" > /run/planted && echo "+decoy+" | systemd-cat -t planted && journalctl --sync")
	vmtest.On(t, "systemd-run --quiet --unit=planted-argument sh -c ': "+decoy+"; sleep 6; sleep 6'")
	time.Sleep(4 * time.Second)
	vmtest.On(t, "systemctl stop planted-argument; sync")

	// Here: in a file of the state folder, and in git.
	h.p.Write(".llmhost/planted.json", decoy)
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", h.p.Dir, "-c", "user.name=t", "-c", "user.email=t@t"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	git("init", "-q")
	git("add", "-A")
	git("commit", "-qm", "everything")
	fmt.Fprintf(&h.said, "$ llmhost says %s\n", decoy)

	for _, place := range []struct {
		name string
		read func(visit func(where string, r io.Reader))
	}{
		{"what the commands said", func(visit func(string, io.Reader)) { visit("output", bytes.NewReader(h.said.Bytes())) }},
		{"processes of both machines", func(visit func(string, io.Reader)) { visit("processes", h.watch.end(t)) }},
		{"the project, its state and history, and the home", func(visit func(string, io.Reader)) {
			for _, root := range []string{h.p.Dir, h.p.Home} {
				walkFiles(t, root, visit)
			}
		}},
		{"git", func(visit func(string, io.Reader)) { visit("history", strings.NewReader(git("log", "-p", "--all"))) }},
		{"the host's disk from outside", func(visit func(string, io.Reader)) {
			f, err := os.Open(filepath.Join(vmtest.VM.Dir, "disk.qcow2"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			visit(f.Name(), f)
		}},
		{"the host's journal", func(visit func(string, io.Reader)) {
			visit("journal", strings.NewReader(vmtest.On(t, "journalctl --no-pager -o export --since=-1h -a")))
		}},
		// The server's own credentials are the one place where a key is to be.
		{"the host's files in memory", func(visit func(string, io.Reader)) {
			visit("/run", strings.NewReader(vmtest.On(t, "tar -C / --warning=no-all -cf - --exclude=run/credentials --exclude=run/log --exclude=run/docker run tmp dev/shm; true")))
		}},
	} {
		foundPlanted := false
		place.read(func(where string, r io.Reader) {
			found, err := secretstest.Find(r, h.needles, planted)
			if err != nil {
				t.Errorf("%s: %s: %v", place.name, where, err)
			}
			for _, name := range found {
				if name == "planted" {
					foundPlanted = true
					continue
				}
				t.Errorf("%s: %s holds the key %q", place.name, where, name)
			}
		})
		// The home of the user has no planted key of its own: its files are read with the project's.
		if !foundPlanted {
			t.Errorf("%s: the key that was put there wasn't found, so that nothing would be", place.name)
		}
	}
	vmtest.On(t, "rm -f /run/planted; systemctl reset-failed planted-argument 2>/dev/null; true")
	if err := os.Remove(filepath.Join(h.p.Dir, ".llmhost/planted.json")); err != nil {
		t.Fatal(err)
	}
}

func walkFiles(t *testing.T, root string, visit func(string, io.Reader)) {
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		visit(path, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// watch records the arguments and variables of all processes of this machine and of the host,
// again and again.
type watch struct {
	here, there bytes.Buffer
	stop        context.CancelFunc
	ended       chan struct{}
}

func watchProcesses(t *testing.T) *watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{stop: cancel, ended: make(chan struct{}, 2)}
	t.Cleanup(cancel)
	const look = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
	for _, one := range []struct {
		cmd *exec.Cmd
		to  *bytes.Buffer
	}{
		{exec.CommandContext(ctx, "sh", "-c", "while :; do "+look+" 2>/dev/null; sleep 0.5; done"), &w.here},
		{exec.CommandContext(ctx, "ssh", "-i", vmtest.VM.IdentityFile, "-o", "UserKnownHostsFile="+vmtest.VM.KnownHostsFile, "-o", "BatchMode=yes",
			"-p", fmt.Sprint(vmtest.VM.Port), "root@"+vmtest.VM.Address, "while :; do "+look+" 2>/dev/null; sleep 1; done"), &w.there},
	} {
		one.cmd.Stdout = distinct{map[string]bool{}, one.to}
		one.cmd.Cancel = func() error { return one.cmd.Process.Kill() }
		go func() {
			_ = one.cmd.Run() // it is killed
			w.ended <- struct{}{}
		}()
	}
	return w
}

// distinct keeps each argument and variable once.
type distinct struct {
	seen map[string]bool
	to   *bytes.Buffer
}

func (d distinct) Write(b []byte) (int, error) {
	for _, part := range bytes.Split(b, []byte{0}) {
		if !d.seen[string(part)] {
			d.seen[string(part)] = true
			d.to.Write(part)
			d.to.WriteByte('\n')
		}
	}
	return len(b), nil
}

// end stops watching and returns everything that was seen.
func (w *watch) end(t *testing.T) io.Reader {
	t.Helper()
	w.stop()
	<-w.ended
	<-w.ended
	for where, seen := range map[string]*bytes.Buffer{"here": &w.here, "on the host": &w.there} {
		if !bytes.Contains(seen.Bytes(), []byte("llmhost")) {
			t.Errorf("no process of llmhost was seen %s", where)
		}
	}
	return io.MultiReader(&w.here, &w.there)
}
