package runtimes

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/agent/archive/archivetest"
	"github.com/llmhost/llmhost/internal/testmodel"
	"github.com/llmhost/llmhost/test/vmtest"
)

const deltaUnit = "llmhost-delta.service"

// One deployment is changed by hand in every way, repaired, and then given versions that don't
// work.
func TestUnits(t *testing.T) {
	p := vmtest.NewProject(t)
	p.Host("delta", vmtest.ModelServer("delta"))
	p.Up("delta")
	p.DestroyAtEnd("delta")
	p.NoDrift("delta")
	t.Run("drift", func(t *testing.T) { unitDrift(t, p) })
	t.Run("switch", func(t *testing.T) { unitSwitch(t, p) })
	p.T = t
}

func unitDrift(t *testing.T, p *vmtest.Project) {
	p.T = t
	const timer, service, check = "llmhost-verify.timer", "llmhost-verify.service", "llmhost-check@delta.service"
	vmtest.On(t, `set -e
d=/etc/systemd/system/`+deltaUnit+`.d
mkdir -p $d /run/systemd/system/`+timer+`.d /run/systemd/transient
# A process that was started with a drop-in which is gone again.
printf '[Service]\nLimitNOFILE=99\n' > $d/gone.conf
systemctl daemon-reload && systemctl restart `+deltaUnit+`
sleep 1; rm $d/gone.conf
printf '[Service]\nProtectHome=no\n' > $d/loose.conf
# As systemctl edit --runtime writes it.
printf '[Timer]\nPersistent=no\n' > /run/systemd/system/`+timer+`.d/override.conf
sed 's/^Description=.*/Description=Another/' /etc/systemd/system/`+check+` > /run/systemd/transient/`+check+`
systemctl daemon-reload
rm $d/loose.conf
systemctl daemon-reload
systemctl set-property `+deltaUnit+` MemoryMax=3G
systemctl set-property --runtime `+deltaUnit+` CPUWeight=50
systemctl disable -q `+timer+`
# Another spelling of the same, which systemd has not read yet.
sed -i 's/^NoNewPrivileges=yes/# by hand\nNoNewPrivileges = true/' /etc/systemd/system/`+service)

	found := p.Drift("delta")
	for _, want := range []struct{ id, property, have string }{
		{deltaUnit, "runtimeProperties", "MemoryMax:3221225472"},
		{deltaUnit, "runtimeProperties", "CPUWeight:50 (until the next boot)"},
		{deltaUnit, "outdated", "the process was started before"},
		{timer, "dropIns", timer + ".d/override.conf:[Timer]\nPersistent=no"},
		{timer, "enabled", "false"},
		{check, "shadowedBy", "/run/systemd/transient/" + check},
		{service, "outdated", "systemd has not read"},
	} {
		if !reportedAs(found, want.id, want.property, want.have) {
			t.Errorf("%s %s isn't reported with %q", want.id, want.property, want.have)
		}
	}
	if reportedAs(found, service, "content", "") {
		t.Error("another spelling is reported as another text")
	}
	if t.Failed() {
		for _, f := range found {
			t.Logf("reported: %s %s: want %v, have %.80v", f.ID, f.Property, f.Want, f.Have)
		}
	}
	p.Up("delta", "--refresh")
	p.NoDrift("delta")
	if got := vmtest.On(t, "systemctl show -P MemoryMax -P CPUWeight "+deltaUnit); got != fmt.Sprint(1<<30)+"\n[not set]" && got != "[not set]\n"+fmt.Sprint(1<<30) {
		t.Errorf("after the repair systemd says %q", got)
	}
}

func reportedAs(found []vmtest.Finding, id, property, have string) bool {
	for _, f := range found {
		if f.ID == id && f.Property == property && strings.Contains(fmt.Sprint(f.Have), have) {
			return true
		}
	}
	return false
}

func unitSwitch(t *testing.T, p *vmtest.Project) {
	p.T = t
	host := vmtest.ModelServer("delta")
	old := vmtest.VM.EngineSHA256
	// version is the host file with another engine.
	version := func(archive, digest string) string {
		s := strings.NewReplacer(vmtest.VM.EngineArchive, archive, old, digest).Replace(host)
		return strings.Replace(s, "context = 1024", "context = 1024\n    ready_timeout = \"20s\"", 1)
	}
	works := func() {
		t.Helper()
		if got := strings.TrimSpace(p.Must("ask", "-s", "delta", "Are you well?").Stdout); got != testmodel.DefaultReply {
			t.Errorf("the model answers %q", got)
		}
		if text := vmtest.On(t, "cat /etc/systemd/system/"+deltaUnit); !strings.Contains(text, old) {
			t.Error("the unit isn't the old one")
		}
		vmtest.Absent(t, "/var/lib/llmhost/previous/*")
	}

	// A plain restart of the same unit by a deployment, to compare with.
	vmtest.On(t, "touch /etc/systemd/system/"+deltaUnit+"; systemctl daemon-reload")
	restart := timed(t, p, 0, "up", "-s", "delta", "--yes", "--skip-preview", "--non-interactive", "--refresh")
	restarted := restart.between(t, "installing "+deltaUnit, deltaUnit+": its server has answered")

	ending, digest := uselessEngine(t, "yes")
	p.Host("delta", version(ending, digest))
	failed := timed(t, p, 1, "up", "-s", "delta", "--yes", "--skip-preview", "--non-interactive")
	for _, want := range []string{"the one that ran before was put back: it answers again", "fakeengine: unknown argument"} {
		if !strings.Contains(failed.all(), want) {
			t.Errorf("the failed update doesn't say %q:\n%s", want, failed.all())
		}
	}
	works()
	rolledBack := failed.between(t, deltaUnit+" doesn't work: going back", deltaUnit+": its server has answered")
	t.Logf("until the server answers: a plain restart %.1f s, going back %.1f s, ratio %.2f", restarted.Seconds(), rolledBack.Seconds(), rolledBack.Seconds()/restarted.Seconds())

	// One that runs and never answers, and an agent that is killed while llmhost waits for it.
	idle, digest := uselessEngine(t, "no")
	p.Host("delta", version(idle, digest))
	ctx, cancel := context.WithTimeout(t.Context(), vmtest.CommandLimit)
	defer cancel()
	cut := p.Command(ctx, "up", "-s", "delta", "--yes", "--skip-preview", "--non-interactive")
	var said strings.Builder
	cut.Stdout, cut.Stderr = &said, &said
	if err := cut.Start(); err != nil {
		t.Fatal(err)
	}
	vmtest.On(t, `for i in $(seq 600); do grep -q `+digest+` /etc/systemd/system/`+deltaUnit+` && pgrep -x llama-server && break; sleep 0.2; done; sleep 2; pkill -9 -x llmhost-agent`)
	if err := cut.Wait(); err == nil {
		t.Fatalf("the agent was killed, and the update has succeeded:\n%s", said.String())
	}
	if text := vmtest.On(t, "cat /etc/systemd/system/"+deltaUnit); !strings.Contains(text, digest) {
		t.Errorf("the new unit isn't there any more:\n%s", said.String())
	}
	vmtest.On(t, "ls /var/lib/llmhost/previous/*.json")
	again := timed(t, p, 1, "up", "-s", "delta", "--yes", "--skip-preview", "--non-interactive")
	for _, want := range []string{"the one that ran before was put back: it answers again", "has not answered within 20s"} {
		if !strings.Contains(again.all(), want) {
			t.Errorf("the next update doesn't say %q:\n%s", want, again.all())
		}
	}
	works()

	p.Host("delta", host)
	p.Up("delta")
	p.NoDrift("delta")
	works()
	if got := vmtest.On(t, "ls /opt/llmhost/engines"); got != old {
		t.Errorf("the engines on the host are %q, want %s alone", got, old)
	}
}

// uselessEngine is an archive with a program in the server's place that doesn't work.
func uselessEngine(t *testing.T, ends string) (file, digest string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "llama-server")
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-s -w -X main.ends="+ends, "-o", program, "./fakeengine")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var entries []archivetest.Entry
	for _, dir := range []string{"usr/", "usr/bin/", "usr/lib/", "usr/lib64/", "usr/sbin/", "dev/", "etc/", "models/", "proc/", "root/", "run/", "sys/", "tmp/", "var/"} {
		entries = append(entries, archivetest.Entry{Header: tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}})
	}
	for _, link := range []string{"bin", "lib", "lib64", "sbin"} {
		entries = append(entries, archivetest.Symlink(link, "usr/"+link))
	}
	entries = append(entries, archivetest.Entry{
		Header:  tar.Header{Name: "usr/bin/llama-server", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))},
		Content: string(content),
	})
	archive := archivetest.Zstd(archivetest.Tar(entries...))
	file = filepath.Join(t.TempDir(), "engine-"+ends+".tar.zst")
	if err := os.WriteFile(file, archive, 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(archive)
	return file, hex.EncodeToString(sum[:])
}

// transcript is what a command has said, and when.
type transcript []struct {
	text string
	at   time.Time
}

// timed runs llmhost, notes when each line comes, and expects the exit code.
func timed(t *testing.T, p *vmtest.Project, code int, args ...string) transcript {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), vmtest.CommandLimit)
	defer cancel()
	cmd := p.Command(ctx, args...)
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Start()
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	var lines transcript
	for scanner := bufio.NewScanner(in); scanner.Scan(); {
		lines = append(lines, struct {
			text string
			at   time.Time
		}{scanner.Text(), time.Now()})
	}
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("llmhost %s ended with %d, want %d:\n%s", strings.Join(args, " "), got, code, lines.all())
	}
	return lines
}

func (l transcript) all() string {
	var b strings.Builder
	for _, line := range l {
		fmt.Fprintln(&b, line.text)
	}
	return b.String()
}

// between is the time from a line that holds the first text to the next that holds the second.
func (l transcript) between(t *testing.T, first, second string) time.Duration {
	t.Helper()
	var begun time.Time
	for _, line := range l {
		switch {
		case begun.IsZero() && strings.Contains(line.text, first):
			begun = line.at
		case !begun.IsZero() && strings.Contains(line.text, second):
			return line.at.Sub(begun)
		}
	}
	t.Fatalf("%q and then %q were not said:\n%s", first, second, l.all())
	return 0
}
