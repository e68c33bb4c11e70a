package remote_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/remote/agentbin"
)

// TestPlacesForTheAgent runs the real start script, as root of a mount namespace of its own,
// on machines whose folders can't all hold a program.
func TestPlacesForTheAgent(t *testing.T) {
	const inside = "LLMHOST_TEST_PLACES"
	for name, tc := range map[string]struct {
		state, run, opt string // options of the tmpfs that is mounted there
		want            string // where the agent is, or empty
		reason          agentpb.Reason
		parts           []string
	}{
		"first place":       {want: "/srv/agent"},
		"noexec":            {state: "noexec", want: "/run/llmhost-agent"},
		"noexec twice":      {state: "noexec", run: "noexec", want: "/opt/llmhost/agent"},
		"noexec everywhere": {state: "noexec", run: "noexec", opt: "noexec", parts: []string{"noexec"}},
		"read-only":         {state: "ro", want: "/run/llmhost-agent"},
		"all read-only":     {state: "ro", run: "ro", opt: "ro", reason: agentpb.Reason_READ_ONLY, parts: []string{"read-only"}},
		"full":              {state: "size=64k", want: "/run/llmhost-agent"},
		"all full":          {state: "size=64k", run: "size=64k", opt: "size=64k", reason: agentpb.Reason_NO_SPACE, parts: []string{"no space"}},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Getenv(inside) == "" {
				// The agent is made out here: inside, the cache folder may be hidden.
				binary, err := agentbin.For(t.Context(), hostArchitecture(t))
				if err != nil {
					t.Fatal(err)
				}
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, agentbin.FileName(hostArchitecture(t))), binary.Content, 0o755); err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(os.Args[0], "-test.run=^TestPlacesForTheAgent$/^"+strings.ReplaceAll(name, " ", "_")+"$", "-test.v")
				cmd.Env = append(os.Environ(), inside+"=1", agentbin.DirVariable+"="+dir)
				cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
				if os.Getuid() != 0 {
					cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
					cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
					cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
				}
				out, err := cmd.CombinedOutput()
				if errors.Is(err, syscall.EPERM) {
					t.Skip("NOT TESTED: this needs root, or a kernel that allows user namespaces")
				}
				if err != nil || !strings.Contains(string(out), "--- PASS: TestPlacesForTheAgent/") {
					t.Fatalf("%v\n%s", err, out)
				}
				return
			}

			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				t.Fatal(err)
			}
			for path, option := range map[string]string{"/srv": tc.state, "/run": tc.run, "/opt": tc.opt} {
				mountScratch(t, path, option)
			}
			c, err := dial(t, remote.Target{Local: true, StateDir: "/srv"}, remote.Options{})
			if tc.want == "" {
				wantError(t, err, remote.ErrStart, tc.parts...)
				if got := remote.ReasonOf(err); got != tc.reason {
					t.Errorf("reason %v, want %v", got, tc.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := agentsIn(t, tc.want); len(got) != 1 {
				t.Errorf("%d agents in %s, want one", len(got), tc.want)
			}
			if left, _ := filepath.Glob("/srv/agent/*/.incoming*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			c.Close()
		})
	}
}

func mountScratch(t *testing.T, path, option string) {
	t.Helper()
	var flags uintptr
	data := "size=128m"
	switch option {
	case "noexec":
		flags = unix.MS_NOEXEC
	case "ro":
		flags = unix.MS_RDONLY
	case "":
	default:
		data = option
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", flags, data); err != nil {
		t.Fatalf("mount a tmpfs on %s: %v", path, err)
	}
}

func TestTheAgentIsCheckedBeforeEachStart(t *testing.T) {
	target := remote.Target{Local: true, StateDir: t.TempDir()}
	mustDial(t, target, options()).Close()
	agents := agentsIn(t, filepath.Join(target.StateDir, "agent"))
	if len(agents) != 1 {
		t.Fatalf("%d agents, want one", len(agents))
	}
	file := filepath.Join(agents[0], "llmhost-agent")
	if err := os.WriteFile(file, []byte("#!/bin/sh\ntouch "+target.StateDir+"/was-run\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustDial(t, target, options()).Close()
	if _, err := os.Stat(target.StateDir + "/was-run"); err == nil {
		t.Error("a changed agent was run")
	}
	if sum := sha256.Sum256([]byte(readFile(t, file))); hex.EncodeToString(sum[:]) != filepath.Base(agents[0]) {
		t.Error("the changed agent is still there")
	}
}

func TestASymlinkIsNoPlaceForTheAgent(t *testing.T) {
	target := remote.Target{Local: true, StateDir: t.TempDir()}
	if err := os.Symlink(t.TempDir(), filepath.Join(target.StateDir, "agent")); err != nil {
		t.Fatal(err)
	}
	_, err := dial(t, target, options())
	wantError(t, err, remote.ErrStart, "belongs to another user")
}

func TestTheTwoLatestAgentsAreKept(t *testing.T) {
	target := remote.Target{Local: true, StateDir: t.TempDir()}
	plain, err := agentbin.For(t.Context(), hostArchitecture(t))
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, version := range []string{"a", "b", "c"} {
		o := options()
		o.AgentBinary = func(context.Context, string) (agentbin.Binary, error) {
			content := append(append([]byte(nil), plain.Content...), version...) // still a valid program
			sum := sha256.Sum256(content)
			digests = append(digests, hex.EncodeToString(sum[:]))
			return agentbin.Binary{Content: content, SHA256: digests[len(digests)-1]}, nil
		}
		mustDial(t, target, o).Close()
	}
	for i, want := range []bool{false, true, true} {
		_, err := os.Stat(filepath.Join(target.StateDir, "agent", digests[i]))
		if got := err == nil; got != want {
			t.Errorf("agent %d is there: %v, want %v", i, got, want)
		}
	}
}

func TestAProgramThatIsNoAgent(t *testing.T) {
	for script, part := range map[string]string{
		"#!/bin/sh\necho broken; exit 3\n":                                  "does not run on the host: exit status 3: broken",
		"#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho hello\n":         "ended the start of the agent: hello",
		"#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho no >&2\n":        "ended the start of the agent: no",
		"#!/bin/sh\n[ \"$1\" = --version ] || exec cat /dev/null\n":         "ended the start of the agent",
		"#!/bin/sh\n[ \"$1\" = --version ] || echo llmhost-agent-ready 9\n": "protocol 9",
	} {
		o := options()
		o.AgentBinary = func(context.Context, string) (agentbin.Binary, error) {
			sum := sha256.Sum256([]byte(script))
			return agentbin.Binary{Content: []byte(script), SHA256: hex.EncodeToString(sum[:])}, nil
		}
		_, err := dial(t, remote.Target{Local: true, StateDir: t.TempDir()}, o)
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: got %v, want %q", script, err, part)
		}
	}
}

func TestAnAgentThatDoesNotArriveAsItWasSent(t *testing.T) {
	o := options()
	o.AgentBinary = func(context.Context, string) (agentbin.Binary, error) {
		return agentbin.Binary{Content: []byte("x"), SHA256: strings.Repeat("0", 64)}, nil
	}
	_, err := dial(t, remote.Target{Local: true, StateDir: t.TempDir()}, o)
	wantError(t, err, remote.ErrStart, "did not arrive as it was sent")
}

// agentsIn lists the folders of the agents in a place.
func agentsIn(t *testing.T, place string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(place, "*", "llmhost-agent"))
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, f := range files {
		dirs = append(dirs, filepath.Dir(f))
	}
	return dirs
}

func hostArchitecture(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("uname", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(out)) == "aarch64" {
		return "arm64"
	}
	return "amd64"
}
