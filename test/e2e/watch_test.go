package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/testmodel"
	"github.com/llmhost/llmhost/test/vmtest"
)

// disk mounts a small ext4 on the host, whose image is a file there: what is written into that
// file reaches the models behind the file system's back, as a bad disk or a stranger's boot stick
// would.
type disk struct {
	t     *testing.T
	image string
	mount string
}

func newDisk(t *testing.T, name string, options ...string) *disk {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	make := exec.Command("sh", append([]string{"-c", `PATH=$PATH:/usr/sbin:/sbin exec mke2fs -q -t ext4 "$@"`, "sh"}, append(options, image, "16M")...)...)
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("mke2fs, of e2fsprogs: %v\n%s", err, out)
	}
	d := &disk{t: t, image: "/root/" + name + ".img", mount: "/mnt/" + name}
	toVM(t, image, d.image)
	vmtest.On(t, fmt.Sprintf("mkdir -p %s && mount -o loop %s %[1]s", d.mount, d.image))
	t.Cleanup(func() { vmtest.On(t, fmt.Sprintf("umount %s && rmdir %[1]s && rm %s", d.mount, d.image)) })
	return d
}

// models is the folder that a host file names.
func (d *disk) models() string { return d.mount + "/models" }

func (d *disk) block() string {
	return fmt.Sprintf("\n  models {\n    path         = %q\n    verify_every = \"1h\"\n  }", d.models())
}

// flip changes a byte of the only model in the image. Nothing in the file system changes, and so
// none of the model's times.
func (d *disk) flip() {
	d.t.Helper()
	vmtest.On(d.t, fmt.Sprintf(`sync
at=$(grep -abo GGUF %s | head -n 1 | cut -d: -f1)
printf X | dd of=%[1]s bs=1 seek=$((at + 4096)) conv=notrunc status=none
sync; echo 3 > /proc/sys/vm/drop_caches`, d.image))
}

// property returns one of systemd's properties of a unit.
func property(t *testing.T, unit, name string) string {
	t.Helper()
	return vmtest.On(t, fmt.Sprintf("systemctl show -p %s --value %s", name, unit))
}

const verifyUnit = "llmhost-verify.service"

// A byte that changes on the disk leaves no trace but the byte. The host finds it by itself, says
// so in every way, starts nothing with it, and the next deployment repairs it.
func TestAByteThatChangesOnTheDiskIsFoundAndRefused(t *testing.T) {
	d := newDisk(t, "plain")
	p := newProject(t)
	p.Host("watch", d.block()+vmtest.ModelServer("watched"))
	p.Up("watch")
	p.DestroyAtEnd("watch")
	file := d.models() + "/tiny.gguf"
	const unit = "llmhost-watched.service"

	vmtest.On(t, "systemctl start "+verifyUnit)
	if metrics := vmtest.On(t, "cat /var/lib/llmhost/metrics/models.prom"); !strings.Contains(metrics, `llmhost_model_verified{model="tiny"} 1`) {
		t.Errorf("the metrics of a good model:\n%s", metrics)
	}
	if state := property(t, "llmhost-verify.timer", "ActiveState"); state != "active" {
		t.Errorf("the timer is %s", state)
	}
	p.NoDrift("watch")

	vmtest.On(t, "systemctl stop "+unit) // it holds the model's pages in memory
	before := vmtest.On(t, "stat -c '%i %s %y %z' "+file)
	d.flip()
	if after := vmtest.On(t, "stat -c '%i %s %y %z' "+file); after != before {
		t.Fatalf("the test has left a trace: %s, before: %s", after, before)
	}
	if out, err := vmtest.TryOn("systemctl start " + verifyUnit); err == nil {
		t.Fatalf("the verification has passed:\n%s\n%s", out, vmtest.On(t, "journalctl -o cat -u "+verifyUnit))
	}
	if state := property(t, verifyUnit, "ActiveState"); state != "failed" {
		t.Errorf("the unit of the verification is %s", state)
	}
	if metrics := vmtest.On(t, "cat /var/lib/llmhost/metrics/models.prom"); !strings.Contains(metrics, `llmhost_model_verified{model="tiny"} 0`) {
		t.Errorf("the metrics of a bad model:\n%s", metrics)
	}
	found := p.Drift("watch")
	for _, want := range []tampering{
		{"the model", "", "Model", file, "verified"},
		{"the failed unit", "", "SystemdUnit", verifyUnit, "state"},
	} {
		if !reported(found, want) {
			t.Errorf("%s is not reported: %+v", want.what, found)
		}
	}
	if out, err := vmtest.TryOn("systemctl start " + unit); err == nil {
		t.Errorf("the server was started with it: %s", out)
	}
	why := vmtest.On(t, "journalctl -o cat -u llmhost-check@watched.service")
	if !strings.Contains(why, "model tiny: "+file) || !strings.Contains(why, "llmhost up --refresh") {
		t.Errorf("the journal doesn't say why:\n%s", why)
	}
	// A deployment that touches the server, and doesn't look at the model, says it too.
	p.Write("hosts/watch.hcl", strings.Replace(p.hostfile("watch"), "context = 1024", "context = 2048", 1))
	if r := p.Run("up", "-s", "watch", "--yes", "--skip-preview", "--non-interactive"); r.Code == 0 || !strings.Contains(r.All(), "model tiny: "+file) {
		t.Errorf("an up without a refresh ended with %d and doesn't name the model:\n%s", r.Code, r.All())
	}

	p.Up("watch", "--refresh")
	p.NoDrift("watch")
	if answer := p.Must("ask", "-s", "watch", "Are you well?"); strings.TrimSpace(answer.Stdout) != testmodel.DefaultReply {
		t.Errorf("after the repair the model answers %q", answer.Stdout)
	}
	vmtest.On(t, "systemctl start "+verifyUnit)
}

// Where the file system can, the kernel protects a model: nobody can write into it, and what a
// disk has changed can't be read.
func TestAProtectedModelCannotBeTamperedWith(t *testing.T) {
	d := newDisk(t, "verity", "-O", "verity", "-b", "4096")
	p := newProject(t)
	p.Host("verity", d.block()+vmtest.ModelServer("sealed"))
	p.Up("verity")
	p.DestroyAtEnd("verity")
	file := d.models() + "/tiny.gguf"

	if out, err := vmtest.TryOn("printf X | dd of=" + file + " bs=1 seek=4096 conv=notrunc"); err == nil {
		t.Errorf("root could write into it: %s", out)
	}
	vmtest.On(t, "systemctl restart llmhost-sealed.service")
	if said := vmtest.On(t, "journalctl -o cat -u llmhost-check@sealed.service"); !strings.Contains(said, "fs-verity protects it") {
		t.Errorf("the check at the start doesn't rely on it:\n%s", said)
	}
	p.NoDrift("verity")

	vmtest.On(t, "systemctl stop llmhost-sealed.service")
	d.flip()
	if out, err := vmtest.TryOn("systemctl start " + verifyUnit); err == nil {
		t.Errorf("the verification has passed: %s", out)
	}
	if out, err := vmtest.TryOn("systemctl start llmhost-sealed.service"); err == nil {
		t.Errorf("the server was started with it: %s", out)
	}
	p.Up("verity", "--refresh")
	if answer := p.Must("ask", "-s", "verity", "Are you well?"); strings.TrimSpace(answer.Stdout) != testmodel.DefaultReply {
		t.Errorf("after the repair the model answers %q", answer.Stdout)
	}
}

// A model that its server's user may not read is refused before the server starts, with a line
// that says so.
func TestAModelThatCannotBeReadIsRefused(t *testing.T) {
	p := newProject(t)
	p.Host("unread", vmtest.ModelServer("blind"))
	p.Up("unread")
	p.DestroyAtEnd("unread")

	vmtest.On(t, "chmod 0600 /srv/models/tiny.gguf")
	if out, err := vmtest.TryOn("systemctl restart llmhost-blind.service"); err == nil {
		t.Fatalf("the server was started with a model that it may not read: %s", out)
	}
	why := vmtest.On(t, "journalctl -o cat -u llmhost-blind.service")
	if !strings.Contains(why, "may not read /models/tiny.gguf") || !strings.Contains(why, "llm-models") {
		t.Errorf("the journal doesn't say why:\n%s", why)
	}
	p.Up("unread", "--refresh")
	if answer := p.Must("ask", "-s", "unread", "Are you well?"); strings.TrimSpace(answer.Stdout) != testmodel.DefaultReply {
		t.Errorf("after the repair the model answers %q", answer.Stdout)
	}
}
