package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	disk := filepath.Join(t.TempDir(), "disk.img")
	if out, err := exec.Command("sh", "-c", `PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -O verity -b 4096 "$0" 16M`, disk).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		on(t, "umount /root/protected 2>/dev/null; rm -rf /root/models.test /root/disk.img /root/protected")
	})
	toVM(t, tests, "/root/models.test")
	toVM(t, disk, "/root/disk.img")
	on(t, `set -e
		chmod 700 /root/models.test
		mkdir /root/protected
		mount -o loop /root/disk.img /root/protected`)
	out := on(t, "LLMHOST_TEST_VERITY=/root/protected /root/models.test -test.run '^TestProtection$' -test.v")
	if !strings.Contains(out, "--- PASS: TestProtection") {
		t.Fatalf("it did not run:\n%s", out)
	}

	// A byte of a model changes on the disk itself, which no time and no identity shows.
	on(t, `set -e
		umount /root/protected
		offset=$(grep -abo 'bytes that break' /root/disk.img | head -1 | cut -d: -f1)
		printf W | dd of=/root/disk.img bs=1 seek="$offset" conv=notrunc status=none
		mount -o loop /root/disk.img /root/protected`)
	out = on(t, "LLMHOST_TEST_BROKEN=/root/protected/broken.gguf /root/models.test -test.run '^TestBrokenDisk$' -test.v")
	if !strings.Contains(out, "--- PASS: TestBrokenDisk") {
		t.Fatalf("it did not run:\n%s", out)
	}
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
	put := vm.SSHCommand(ctx, "root", "cat > "+to)
	put.Stdin = f
	if out, err := put.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", to, err, out)
	}
}
