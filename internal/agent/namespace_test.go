package agent_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

const namespaceVariable = "LLMHOST_TEST_NAMESPACE"

// inMountNamespace runs a test again in a process that has mounts of its own, so that it can
// fill or replace a file system. It reports whether this is that process.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaceVariable) == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	again.Env = append(os.Environ(), namespaceVariable+"="+t.Name())
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		again.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		again.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		again.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := again.CombinedOutput()
	if err != nil {
		t.Fatalf("in a mount namespace of its own (which needs root or user namespaces): %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("the test did not run in its mount namespace:\n%s", out)
	}
	return false
}

func mountTmpfs(t *testing.T, dir, options string, flags uintptr) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

func TestFullFileSystem(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	h := newHost(t)
	c := h.connectToChange("s")
	mountTmpfs(t, h.path("small"), "size=256k", 0)

	put := c.mustPutFile(file(h.path("small/config"), "small"))
	req := file(h.path("small/config"), strings.Repeat("x", 1<<20))
	req.Claim.Generation = put.GetGeneration()
	_, err := c.PutFile(t.Context(), req)
	if meta := wantReason(t, err, agentpb.Reason_NO_SPACE); meta["path"] != h.path("small/config") {
		t.Errorf("metadata %v", meta)
	}
	if mustRead(t, h.path("small/config")) != "small" {
		t.Error("the old file is gone")
	}

	// A model is refused before its bytes are sent.
	big := []byte(strings.Repeat("x", 1<<20))
	_, err = c.pushModel(modelHeader(h.path("small/m.gguf"), big), nil)
	wantReason(t, err, agentpb.Reason_NO_SPACE)

	_, err = c.pushEngine(engineHeader(h.path("small/engines"), big), big)
	wantReason(t, err, agentpb.Reason_NO_SPACE)
	onlyEntries(t, h.path("small"), "config")
	if owned := c.mustListOwned(); len(owned) != 1 || owned[0].GetId() != h.path("small/config") {
		t.Errorf("owned: %v", owned)
	}
}

// A disk that fills up in the middle of a push keeps what has arrived, and the push goes on when
// there is room.
func TestDiskThatFillsUp(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	h := newHost(t)
	h.connectToChange("s")
	mountTmpfs(t, h.path("small"), "size=12m", 0)
	mustWrite(t, h.path("small/other"), "")
	header := modelHeader(h.path("small/m.gguf"), []byte(large)[:8<<20])
	fill := func() {
		waitFor(t, "the first bytes", func() bool {
			journal, err := os.Stat(h.path("small/.m.gguf.llmhost-part/journal"))
			return err == nil && journal.Size() > 150
		})
		if err := os.WriteFile(h.path("small/other"), make([]byte, 12<<20), 0o600); err == nil {
			t.Error("the disk is not full")
		}
	}
	src := fakeSource{content: large[:8<<20], size: 8 << 20, after: 3 << 20, pause: fill}
	_, err := h.push(t.Context(), header, src)
	if meta := wantReason(t, err, agentpb.Reason_NO_SPACE); meta["path"] != h.path("small/m.gguf") {
		t.Errorf("metadata %v", meta)
	}
	if exists(h.path("small/m.gguf")) {
		t.Fatal("half a model has its name")
	}
	if err := os.Remove(h.path("small/other")); err != nil {
		t.Fatal(err)
	}
	src.pause = nil
	done, err := h.push(t.Context(), header, src)
	if err != nil || done.Found == 0 || done.SHA256 != header.GetSha256() {
		t.Errorf("the next push: %+v, %v", done, err)
	}
	onlyEntries(t, h.path("small"), "m.gguf")
}

func TestReadOnlyFileSystem(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	h := newHost(t)
	c := h.connectToChange("s")
	mountTmpfs(t, h.path("fixed"), "", unix.MS_RDONLY)
	_, err := c.PutFile(t.Context(), file(h.path("fixed/config"), "x"))
	wantReason(t, err, agentpb.Reason_READ_ONLY)
	_, err = c.PutDirectory(t.Context(), &agentpb.PutDirectoryRequest{Claim: claim("Directory", h.path("fixed/a/b")), Mode: 0o755, Owner: me(), Group: myGroup()})
	wantReason(t, err, agentpb.Reason_READ_ONLY)
	_, err = c.pushModel(modelHeader(h.path("fixed/m"), weights), weights)
	wantReason(t, err, agentpb.Reason_READ_ONLY)
	if owned := c.mustListOwned(); len(owned) != 0 {
		t.Errorf("owned: %v", owned)
	}
}

func TestUserIsMadeChangedAndRemoved(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: making users needs root (a copy of /etc is changed, and not /etc)")
	}
	if !inMountNamespace(t) {
		return
	}
	copyOfEtc := filepath.Join(t.TempDir(), "etc")
	if out, err := exec.Command("cp", "-a", "/etc", copyOfEtc).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := unix.Mount(copyOfEtc, "/etc", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount("/etc", unix.MNT_DETACH) })

	h := newHost(t)
	c := h.connectToChange("s")
	put := func(name string, groups ...string) *agentpb.PutUserRequest {
		return &agentpb.PutUserRequest{Claim: claim("SystemUser", name), Groups: groups, Home: "/nonexistent", Shell: "/usr/sbin/nologin", Comment: "llmhost " + name}
	}
	observe := func(name string) *agentpb.UserState {
		t.Helper()
		u, err := c.ObserveUser(t.Context(), &agentpb.ObserveUserRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	models, err := c.PutUser(t.Context(), put("llm-test-models"))
	if err != nil {
		t.Fatal(err)
	}
	req := put("llm-test", "llm-test-models")
	made, err := c.PutUser(t.Context(), req)
	if err != nil || !made.GetChanged() {
		t.Fatal(made, err)
	}
	u := observe("llm-test")
	if !u.GetExists() || u.GetUid() == 0 || u.GetUid() >= 1000 || u.GetGroup() != "llm-test" || strings.Join(u.GetGroups(), " ") != "llm-test-models" ||
		u.GetHome() != "/nonexistent" || u.GetShell() != "/usr/sbin/nologin" || u.GetComment() != "llmhost llm-test" || !u.GetLocked() || !u.GetOwned().GetComplete() {
		t.Errorf("user: %v", u)
	}

	req.Claim.Generation = made.GetGeneration()
	if again, err := c.PutUser(t.Context(), req); err != nil || again.GetChanged() {
		t.Errorf("again: %v, %v", again, err)
	}
	if out, err := exec.Command("usermod", "--password", "", "llm-test").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if observe("llm-test").GetLocked() {
		t.Error("a user with an empty password counts as locked")
	}
	req.Groups, req.Comment, req.Shell = nil, "other", "/bin/false"
	if again, err := c.PutUser(t.Context(), req); err != nil || !again.GetChanged() {
		t.Errorf("changed: %v, %v", again, err)
	}
	if u := observe("llm-test"); !u.GetLocked() || len(u.GetGroups()) != 0 || u.GetComment() != "other" || u.GetShell() != "/bin/false" {
		t.Errorf("user: %v", u)
	}

	_, err = c.PutUser(t.Context(), put("daemon"))
	wantReason(t, err, agentpb.Reason_NOT_OWNED)
	_, err = c.PutUser(t.Context(), put("llm-test-other", "no-such-group"))
	wantReason(t, err, agentpb.Reason_NO_SUCH_USER)
	if out, err := exec.Command("groupadd", "llm-test-taken").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, err = c.PutUser(t.Context(), put("llm-test-taken"))
	wantReason(t, err, agentpb.Reason_NOT_OWNED)

	if gone := c.mustRemove(claim("SystemUser", "llm-test"), made.GetGeneration()); !gone.GetRemoved() || observe("llm-test").GetExists() {
		t.Errorf("removed: %v", gone)
	}
	c.mustRemove(claim("SystemUser", "llm-test-models"), models.GetGeneration())
	for _, name := range []string{"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"} {
		if content := mustRead(t, name); strings.Contains(content, "llm-test:") || strings.Contains(content, "llm-test-models:") {
			t.Errorf("%s still has a user of the test", name)
		}
	}
	if owned := c.mustListOwned(); len(owned) != 0 {
		t.Errorf("owned: %v", owned)
	}
}
