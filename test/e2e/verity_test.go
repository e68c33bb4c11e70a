package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/test/vmtest"
)

// The kernel protects models where the file system can. The tests of the packages that make use of
// it run in the VM, on a file system that was made for it, and then on one that is damaged.
func TestKernelProtectsModels(t *testing.T) {
	tests := filepath.Join(t.TempDir(), "models.test")
	build := exec.Command("go", "test", "-c", "-buildvcs=false", "-o", tests, "../../internal/agent/models")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	mountProtecting(t, "/root/protected")
	t.Cleanup(func() { vmtest.On(t, "rm -f /root/models.test") })
	toVM(t, tests, "/root/models.test")
	vmtest.On(t, "chmod 700 /root/models.test")
	out := vmtest.On(t, "LLMHOST_TEST_VERITY=/root/protected /root/models.test -test.run '^TestProtection$' -test.v")
	if !strings.Contains(out, "--- PASS: TestProtection") {
		t.Fatalf("it did not run:\n%s", out)
	}

	// A byte of a model changes on the disk itself, which no time and no identity shows.
	vmtest.On(t, `set -e
		umount /root/protected
		offset=$(grep -abo 'bytes that break' /root/disk.img | head -1 | cut -d: -f1)
		printf W | dd of=/root/disk.img bs=1 seek="$offset" conv=notrunc status=none
		mount -o loop /root/disk.img /root/protected`)
	out = vmtest.On(t, "LLMHOST_TEST_BROKEN=/root/protected/broken.gguf /root/models.test -test.run '^TestBrokenDisk$' -test.v")
	if !strings.Contains(out, "--- PASS: TestBrokenDisk") {
		t.Fatalf("it did not run:\n%s", out)
	}
}

// A server works with a model that the kernel protects, and deployments, drift and removal are as
// they are with any other.
func TestServerWithAProtectedModel(t *testing.T) {
	mountProtecting(t, "/srv/protected")
	before := vmtest.On(t, vmtest.Footprint)
	p := newProject(t)
	p.Host("protected", `  models {
    path = "/srv/protected/models"
  }`+vmtest.ModelServer("guarded"))
	p.DestroyAtEnd("protected")
	p.Up("protected")
	var list struct {
		Models []struct {
			Path, State string
			Verity      bool
			UsedBy      []string
		}
	}
	if err := json.Unmarshal([]byte(p.Must("model", "ls", "-s", "protected", "--json").Stdout), &list); err != nil {
		t.Fatal(err)
	}
	const path = "/srv/protected/models/tiny.gguf"
	if len(list.Models) != 1 || list.Models[0].Path != path || list.Models[0].State != "ok" || !list.Models[0].Verity ||
		!slices.Equal(list.Models[0].UsedBy, []string{"llmhost-guarded.service"}) {
		t.Errorf("listed: %+v", list.Models)
	}
	if out, err := vmtest.TryOn("echo x >> " + path); err == nil || !strings.Contains(err.Error()+out, "Operation not permitted") {
		t.Errorf("root may write to it: %v %s", err, out)
	}
	vmtest.On(t, "touch -d 2001-01-01 "+path) // its times say nothing
	p.NoDrift("protected")
	vmtest.Unchanged(t, p.Up("protected", "--refresh"))
	p.Must("ask", "-s", "protected", "What are you?")
	p.Must("destroy", "-s", "protected", "--yes", "--skip-preview", "--non-interactive")
	vmtest.Settled(t, before)
}

// mountProtecting mounts a small file system with fs-verity on a folder of the VM.
func mountProtecting(t *testing.T, folder string) {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.img")
	if out, err := exec.Command("sh", "-c", `PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -O verity -b 4096 "$0" 16M`, disk).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() { vmtest.On(t, "umount "+folder+"; rmdir "+folder+"; rm -f /root/disk.img") })
	toVM(t, disk, "/root/disk.img")
	vmtest.On(t, "mkdir -p "+folder+" && mount -o loop /root/disk.img "+folder)
}

// toVM copies a file to the VM.
func toVM(t *testing.T, from, to string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	put := vmtest.VM.SSHCommand(ctx, "root", "cat > "+to)
	put.Stdin = f
	if out, err := put.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", to, err, out)
	}
}
