package runtimes

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/testmodel"
	"github.com/llmhost/llmhost/test/vmtest"
)

// tiny is the model and a server of it, for engine blocks of the tests' own.
func tiny(server, engine string) string {
	return fmt.Sprintf(`
  model "tiny" {
    source = %q
    sha256 = %q
  }
  server %q {
    engine  = %q
    model   = "tiny"
    memory  = "1GiB"
    threads = 1
    context = 1024
  }`, vmtest.Model.Path, vmtest.Model.SHA256, server, engine)
}

// labArchive makes an archive of packages on the host, with one that holds the lab's llama-server,
// and brings its libraries along, since they are newer than the host's. Nothing else is offered,
// because nothing can be reached.
const labArchive = `set -eu
lib=/usr/lib/llama-lab pkg=/tmp/llama-lab
mkdir -p $pkg/DEBIAN $pkg/usr/bin $pkg$lib $pkg/usr/lib/x86_64-linux-gnu /srv/lab-archive
cp -a /opt/llama.cpp/usr/lib/x86_64-linux-gnu/. $pkg$lib/
mv $pkg$lib/ggml $pkg/usr/lib/x86_64-linux-gnu/ggml
find $pkg/usr/lib/x86_64-linux-gnu/ggml -name '*.so' ! -name '*x64.so' ! -name '*sse42.so' -delete
cp /opt/llama.cpp/usr/bin/llama-server $pkg$lib/llama-server
printf '#!/bin/sh\nexec %s/ld-linux-x86-64.so.2 --library-path %s:%s/llama %s/llama-server "$@"\n' $lib $lib $lib $lib >$pkg/usr/bin/llama-server
chmod 755 $pkg/usr/bin/llama-server
printf 'Package: llama-lab\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: nobody <nobody@example.org>\nDescription: llama-server of the lab\n' >$pkg/DEBIAN/control
deb=/srv/lab-archive/llama-lab_1.0-1_amd64.deb
(cd $pkg && find usr -type f -print0 | xargs -0 md5sum >DEBIAN/md5sums)
dpkg-deb -Znone --root-owner-group -b $pkg $deb >/dev/null
rm -rf $pkg
{ dpkg-deb -f $deb; printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n' ${deb##*/} $(stat -c %s $deb) $(sha256sum $deb | cut -d ' ' -f 1); } >/srv/lab-archive/Packages
echo 'deb [trusted=yes] file:/srv/lab-archive ./' >/etc/apt/sources.list.d/lab.list`

// Real apt installs a real llama-server from an archive of packages, it serves in its sandbox, what
// somebody changes of it is reported and put back, and it is gone when nobody declares it.
func TestPackageEngine(t *testing.T) {
	vmtest.On(t, labArchive)
	t.Cleanup(func() { vmtest.On(t, "rm -rf /srv/lab-archive /etc/apt/sources.list.d/lab.list /var/lib/apt/lists/*") })
	p := vmtest.NewProject(t)
	engine := func(version string) string {
		return fmt.Sprintf("\n  engine \"lab\" {\n    kind    = \"llama.cpp\"\n    package = \"llama-lab\"\n    version = %q\n  }\n", version)
	}
	p.Host("package", engine("9.9-9")+tiny("pack", "lab"))
	r := p.Run("up", "-s", "package", "--yes", "--skip-preview", "--non-interactive")
	if r.Code == 0 || !strings.Contains(r.All(), "archives don't have that version") || !strings.Contains(r.All(), "9.9-9") {
		t.Errorf("a version that nobody offers: exit code %d\n%s", r.Code, r.All())
	}
	if out, err := vmtest.TryOn("dpkg-query -W llama-lab"); err == nil {
		t.Errorf("a package was installed all the same: %s", out)
	}

	p.Host("package", engine("1.0-1")+tiny("pack", "lab"))
	p.Up("package")
	p.DestroyAtEnd("package")
	if got := strings.TrimSpace(p.Must("ask", "-s", "package", "What are you?").Stdout); got != testmodel.DefaultReply {
		t.Errorf("the model answers %q", got)
	}
	p.NoDrift("package")
	if held := vmtest.On(t, "apt-mark showhold"); held != "llama-lab" {
		t.Errorf("a package whose version is written is held: %q", held)
	}
	// Of the host it sees /usr, and neither a configuration nor a home nor what others have.
	seen := vmtest.On(t, `pid=$(systemctl show -p MainPID --value llmhost-pack.service); root=/proc/$pid/root
ls -d $root/etc/shadow $root/etc/passwd $root/etc/ssh $root/home $root/srv $root/boot $root/opt/llmhost/engines $root/root/.ssh $root/var/lib 2>/dev/null; ls $root/etc $root/opt`)
	for line := range strings.Lines(seen) {
		switch name := strings.TrimSpace(line); {
		case name == "", strings.HasSuffix(name, ":"), name == "alternatives", name == "ld.so.cache":
		default:
			t.Errorf("the server sees %s", name)
		}
	}
	if _, err := vmtest.TryOn(`nsenter -t $(systemctl show -p MainPID --value llmhost-pack.service) -m -- touch /usr/bin/x`); err == nil {
		t.Error("the host's programs can be written from the sandbox")
	}

	vmtest.On(t, "echo >>/usr/bin/llama-server; apt-mark -qq unhold llama-lab")
	found := p.Drift("package")
	var what []string
	for _, f := range found {
		what = append(what, f.Type+" "+f.Property)
	}
	if got := strings.Join(what, ", "); !strings.Contains(got, "hold") || !strings.Contains(got, "modifiedFiles") {
		t.Errorf("a changed program of a package that is no longer held is reported as %s", got)
	}
	p.Up("package", "--refresh")
	p.NoDrift("package")

	p.Must("destroy", "-s", "package", "--yes", "--skip-preview", "--non-interactive")
	if out, err := vmtest.TryOn("dpkg-query -W -f '${db:Status-Status}' llama-lab"); err == nil && strings.TrimSpace(out) == "installed" {
		t.Error("the package is still installed")
	}
	vmtest.Absent(t, "/opt/llmhost/root")
}

// fakevllm is not vLLM: it is a small server that is built from vLLM's documentation.
//
//go:embed testdata/fakevllm.py
var fakevllm string

// wheel makes a wheel of fakevllm, whose program is called as vLLM's is.
func wheel(t *testing.T) (name string, content []byte) {
	t.Helper()
	const info = "fakevllm-0.13.0.dist-info/"
	files := [][2]string{
		{"fakevllm.py", fakevllm},
		{info + "METADATA", "Metadata-Version: 2.1\nName: fakevllm\nVersion: 0.13.0\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: llmhost-test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "entry_points.txt", "[console_scripts]\nvllm = fakevllm:main\n"},
	}
	var record strings.Builder
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	add := func(name, text string) {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		sum := sha256.Sum256([]byte(f[1]))
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", f[0], base64.RawURLEncoding.EncodeToString(sum[:]), len(f[1]))
		add(f[0], f[1])
	}
	fmt.Fprintf(&record, "%sRECORD,,\n", info)
	add(info+"RECORD", record.String())
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return "fakevllm-0.13.0-py3-none-any.whl", b.Bytes()
}

// safetensors is the smallest model folder that is one: a configuration and one number.
func safetensors(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "nothing")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	header := `{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`
	weights := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	weights = append(append(weights, header...), 0, 0, 0, 0)
	for name, content := range map[string][]byte{
		"config.json":       []byte(`{"architectures":["LlamaForCausalLM"],"model_type":"llama"}`),
		"model.safetensors": weights,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// cardFacts are of a machine with a GPU, which the VM doesn't have: the fake server uses none. Its
// device class exists on no host, and opens nothing.
const cardFacts = `{
  "architecture": "amd64", "os": {"id": "debian", "version": "13"}, "kernel": "6.12", "systemdVersion": 257,
  "cpu": {"model": "QEMU", "cores": 1}, "memoryBytes": 68719476736,
  "gpus": [{"vendor": "amd", "name": "none", "driver": "amdgpu", "vramBytes": 17179869184}], "deviceClasses": ["char-drm"]
}
`

// An environment is built from wheels by the host's own pip, serves in its sandbox, is put back
// when somebody changes it, and is refused when a wheel isn't the one that was demanded.
func TestVenvEngine(t *testing.T) {
	name, content := wheel(t)
	vmtest.On(t, "mkdir -p /srv/wheels && base64 -d >/srv/wheels/"+name+" <<'END'\n"+base64.StdEncoding.EncodeToString(content)+"\nEND\nchmod 644 /srv/wheels/*")
	t.Cleanup(func() { vmtest.On(t, "rm -rf /srv/wheels") })
	sum := sha256.Sum256(content)
	p := vmtest.NewProject(t)
	host := fmt.Sprintf(`
  gpu "amd" {
    vram = "16GiB"
  }
  engine "vllm" {
    requirements = "vllm.txt"
    index        = ["/srv/wheels"]
  }
  model "nothing" {
    source = %q
    sha256 = "%064d"
  }
  server "venv" {
    engine  = "vllm"
    model   = "nothing"
    context = 1024
  }`, safetensors(t), 0)
	p.Host("venv", host)
	p.Write("hosts/venv.facts.json", cardFacts)
	p.Write("hosts/vllm.txt", "fakevllm==0.13.0 --hash=sha256:"+strings.Repeat("0", 64)+"\n")
	p.Must("pin", "-s", "venv")

	r := p.Run("up", "-s", "venv", "--yes", "--skip-preview", "--non-interactive")
	if r.Code == 0 || !strings.Contains(r.All(), "isn't what the requirements file demands") {
		t.Errorf("a wheel that isn't the demanded one: exit code %d\n%s", r.Code, r.All())
	}
	p.Write("hosts/vllm.txt", "fakevllm==0.13.0 --hash=sha256:"+hex.EncodeToString(sum[:])+"\n")
	p.Up("venv")
	p.DestroyAtEnd("venv")
	answer := strings.TrimSpace(p.Must("ask", "-s", "venv", "What are you?").Stdout)
	// The fake tells what it sees of the host, and what it was started with.
	for _, want := range []string{"fakevllm, no vLLM", "serve /models/nothing", "--uds /run/llmhost/venv/llm.sock", "interfaces lo", "write /opt no", "write /usr no", "write /tmp yes", "home no"} {
		if !strings.Contains(answer, want) {
			t.Errorf("the server doesn't say %q:\n%s", want, answer)
		}
	}
	// The facts are made up, and so they differ.
	unchanged := func() {
		t.Helper()
		for _, f := range p.Drift("venv") {
			if strings.HasPrefix(f.Type, "llmhost:index:") {
				t.Errorf("nothing was touched, and drift reports %+v", f)
			}
		}
	}
	unchanged()

	vmtest.On(t, "echo '# changed' >>/opt/llmhost/venvs/*/lib/python3*/site-packages/fakevllm.py")
	found := p.Drift("venv")
	if len(found) == 0 || !strings.Contains(fmt.Sprint(found), "site-packages/fakevllm.py") {
		t.Errorf("a changed file of the environment is reported as %+v", found)
	}
	p.Up("venv", "--refresh")
	unchanged()
	if got := vmtest.On(t, "tail -n 1 /opt/llmhost/venvs/*/lib/python3*/site-packages/fakevllm.py"); strings.Contains(got, "changed") {
		t.Error("what was changed is still there")
	}
	if got := vmtest.On(t, "ls -A /opt/llmhost/venvs | wc -l"); got != "1" {
		t.Errorf("beside the environment there is something else: %s", vmtest.On(t, "ls -A /opt/llmhost/venvs"))
	}
}
