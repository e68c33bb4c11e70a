package remote

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// ownFolder runs the start script's choice of a state folder, as an ordinary user.
func ownFolder(t *testing.T, uid int, home string) (string, error) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", startScript+"umask 077; llmhost_own; echo \"$state\"")
	cmd.Env = []string{"HOME=" + home, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Dir = "/"
	if uid != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// ordinaryUser is a user that isn't root: this one, or for root one that nobody has.
func ordinaryUser() int {
	if uid := os.Getuid(); uid != 0 {
		return uid
	}
	return 47110815
}

func TestTheLoginUsersOwnStateFolder(t *testing.T) {
	uid := ordinaryUser()
	base, err := os.MkdirTemp("/tmp", "llmhost-own")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	// The user has to get at the homes below.
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	home := func(name string, mode os.FileMode) string {
		path := filepath.Join(base, name)
		if err := os.Mkdir(path, mode); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 {
			if err := os.Chown(path, uid, uid); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	plain := home("plain", 0o700)
	if got, err := ownFolder(t, uid, plain); err != nil || got != plain+"/.local/state/llmhost" {
		t.Errorf("a plain home: %q, %v", got, err)
	}

	shared := fmt.Sprintf("/var/tmp/llmhost-%d", uid)
	if _, err := os.Lstat(shared); err == nil {
		t.Fatalf("%s is in the way of this test: remove it", shared)
	}
	t.Cleanup(func() { os.RemoveAll(shared) })
	for name, path := range map[string]string{
		"odd letters": home("Ann O'Nym; $(id)", 0o700),
		"read-only":   home("read-only", 0o500),
		"missing":     filepath.Join(base, "missing"),
		"none":        "",
	} {
		got, err := ownFolder(t, uid, path)
		if err != nil || got != shared {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if info, err := os.Lstat(shared); err != nil || info.Mode() != os.ModeDir|0o700 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		if err := os.RemoveAll(shared); err != nil {
			t.Fatal(err)
		}
	}

	// Somebody else was faster in the folder that all may write to.
	if err := os.Symlink(plain, shared); err != nil {
		t.Fatal(err)
	}
	if got, err := ownFolder(t, uid, ""); err == nil || !strings.Contains(got, "error foreign-folder "+shared) {
		t.Errorf("a link: %q, %v", got, err)
	}
}
