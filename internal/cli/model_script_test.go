package cli

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/lab"
	"github.com/llmhost/llmhost/internal/remote/agentbin"
	"github.com/llmhost/llmhost/internal/testmodel"
)

// testModelHost is where the tests of models push to: a real SSH server of this machine that lets
// in an ordinary user, with a folder for models.
type testModelHost struct {
	sshd   *lab.SSHD
	user   string
	dir    string // for models
	small  string // a file system of 16 MiB; empty without root
	agents string // LLMHOST_AGENT_DIR
}

// asRoot names the test that runs where it should: for root in a mount namespace of its own, so that
// nothing of this machine is touched, and that it can have a user and a full disk.
const asRoot = "LLMHOST_TEST_MODELS"

// The user that root's tests log in as.
const (
	pusher   = "pusher"
	pusherID = 47110
)

// inModelNamespace reports whether the test runs where it should. For root it runs it again there.
func inModelNamespace(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 || os.Getenv(asRoot) == t.Name() {
		return true
	}
	run := "^" + t.Name() + "$"
	if asked := flag.Lookup("test.run").Value.String(); strings.Contains(asked, "/") {
		run = asked // for one script alone
	}
	again := exec.Command(os.Args[0], "-test.run="+run, "-test.v")
	again.Env = append(os.Environ(), asRoot+"="+t.Name())
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := again.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in a mount namespace of its own: %v\n%s", err, out)
	}
	return false
}

// startModelHost starts the SSH server.
func startModelHost(t *testing.T) *testModelHost {
	t.Helper()
	h := &testModelHost{user: os.Getenv("USER"), agents: t.TempDir()}
	binary, err := agentbin.For(t.Context(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.agents, agentbin.FileName(runtime.GOARCH)), binary.Content, 0o755); err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	var config []string
	if os.Geteuid() == 0 {
		base = "/srv"
		h.user = pusher
		h.withMounts(t, base)
	} else {
		config = append(config, "SetEnv HOME="+filepath.Join(base, "home"))
	}
	h.dir = filepath.Join(base, "models")
	h.mkdir(t, h.dir, filepath.Join(base, "home"))
	// The key of this user's is in a folder that the other one can look into.
	keys := filepath.Join(base, "sshd")
	if err := os.Mkdir(keys, 0o755); err != nil {
		t.Fatal(err)
	}
	if h.sshd, err = lab.StartSSHD(context.Background(), keys, lab.SSHDOptions{Config: config}); err != nil {
		t.Fatal(err)
	}
	if h.user == "" {
		h.user = h.sshd.User
	}
	t.Cleanup(func() {
		if err := h.sshd.Stop(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// withMounts gives this process a world of its own: an empty /srv, no state of llmhost's, a small
// disk, an /etc that may be written to, and one more user.
func (h *testModelHost) withMounts(t *testing.T, base string) {
	t.Helper()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	tmpfs := func(path, options string) {
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, options); err != nil {
			t.Fatal(err)
		}
	}
	tmpfs(base, "mode=0755")
	tmpfs("/var/lib", "mode=0755")
	tmpfs("/usr/local/lib", "mode=0755")
	h.small = filepath.Join(base, "small")
	if err := os.Mkdir(h.small, 0o755); err != nil {
		t.Fatal(err)
	}
	tmpfs(h.small, fmt.Sprintf("size=16m,mode=0755,uid=%[1]d,gid=%[1]d", pusherID))
	etc := filepath.Join(base, "etc")
	if out, err := exec.Command("cp", "-a", "/etc", etc).CombinedOutput(); err != nil {
		t.Fatalf("a copy of /etc: %v\n%s", err, out)
	}
	if err := unix.Mount(etc, "/etc", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	for file, line := range map[string]string{
		"/etc/passwd": fmt.Sprintf("%[1]s:x:%[2]d:%[2]d::%[3]s/home:/bin/sh\n", pusher, pusherID, base),
		"/etc/group":  fmt.Sprintf("%s:x:%d:\n", pusher, pusherID),
	} {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(line)
		if closeErr := f.Close(); err != nil || closeErr != nil {
			t.Fatal(err, closeErr)
		}
	}
}

// mkdir makes folders of the user who logs in.
func (h *testModelHost) mkdir(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() == 0 {
			if err := os.Chown(dir, pusherID, pusherID); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// address is that of a path on the host.
func (h *testModelHost) address(path string) string {
	return "ssh://" + h.user + "@" + h.sshd.Address + ":" + strconv.Itoa(h.sshd.Port) + path
}

// The scripts in testdata/model are sessions with a host that is only reached by SSH. In them
// $HOST is its address, $DIR a folder for models on it, and $SMALL a small disk.
func TestModelScripts(t *testing.T) {
	if !inModelNamespace(t) {
		return
	}
	h := startModelHost(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/model",
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			name, err := filepath.Rel(os.TempDir(), env.WorkDir)
			if err != nil {
				return err
			}
			dir := filepath.Join(h.dir, strings.ReplaceAll(name, "/", "-"))
			h.mkdir(t, dir)
			for key, value := range map[string]string{
				"HOME": home, "XDG_CACHE_HOME": filepath.Join(home, ".cache"), "NO_COLOR": "1",
				"HOST": h.address(""), "DIR": dir, "SMALL": h.small, agentbin.DirVariable: h.agents,
				"PORT": strconv.Itoa(h.sshd.Port), "XDG_CONFIG_HOME": filepath.Join(home, ".config"), "PULUMI_HOME": filepath.Join(home, ".pulumi"),
				"IDENTITY": h.sshd.IdentityFile, "KNOWN_HOSTS": h.sshd.KnownHostsFile,
			} {
				env.Setenv(key, value)
			}
			return os.MkdirAll(home, 0o700)
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
			"model": model,
			"gguf":  gguf,
		},
	})
}

// model runs llmhost model with the key and the known_hosts of the test, and checks its exit code:
// model CODE VERB ARGS…
func model(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: model CODE VERB ARGS…")
	}
	flags := []string{args[0], "model", args[1], "--identity", ts.Getenv("IDENTITY"), "--known-hosts", ts.Getenv("KNOWN_HOSTS")}
	exits(ts, false, append(flags, args[2:]...))
}

// gguf writes a model of some bytes that differ by a seed: gguf FILE BYTES SEED.
func gguf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: gguf FILE BYTES SEED")
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	seed, err := strconv.ParseUint(args[2], 10, 64)
	ts.Check(err)
	_, _, err = testmodel.Noise{Bytes: size, Seed: seed}.WriteFile(ts.MkAbs(args[0]))
	ts.Check(err)
}
