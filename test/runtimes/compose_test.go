package runtimes

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/testimage"
	"github.com/llmhost/llmhost/internal/testmodel"
	"github.com/llmhost/llmhost/test/vmtest"
)

// composeServer is a server of the stack, with a model whose reply is its own.
type composeServer struct {
	name, listen, user, reply string
}

// The stack of hosts/desktop.hcl in small: llama-server in the place of vLLM, which needs a GPU, and
// tiny models in that of large ones.
var stackWithoutVLLM = []composeServer{
	{"one", "127.0.0.1:18000", "1000:1000", "I am the first."},
	{"two", "127.0.0.1:18001", "", "I am the second."},
	{"three", "unix", "", "I am the third."},
}

func composeStack(t *testing.T, p *vmtest.Project) string {
	t.Helper()
	image, err := testimage.Write(filepath.Join(p.Dir, "llama-server-for-vllm.tar"), testimage.Spec{
		Layer: vmtest.VM.EngineArchive, Entrypoint: []string{"/usr/bin/llama-server"}, Architecture: "amd64",
	})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  engine \"llama.cpp\" {\n    image = %q\n    source = %q\n    sha256 = %q\n    executable = \"usr/bin/llama-server\"\n  }\n",
		image.ID, image.Path, image.SHA256)
	for _, s := range stackWithoutVLLM {
		file := filepath.Join(p.Dir, s.name+".gguf")
		sum, _, err := testmodel.WriteFile(file, testmodel.Spec{Name: s.name, Reply: s.reply})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "  model %q {\n    source = %q\n    sha256 = %q\n  }\n", s.name, file, sum)
		fmt.Fprintf(&b, "  server %q {\n    engine = \"llama.cpp\"\n    runtime = \"compose\"\n    project = \"stack\"\n    model = %q\n    listen = %q\n    memory = \"256MiB\"\n    threads = 1\n    context = 512\n",
			s.name, s.name, s.listen)
		if s.user != "" {
			fmt.Fprintf(&b, "    user = %q\n", s.user)
		}
		b.WriteString("  }\n")
	}
	return b.String()
}

// inside is what the server in a container really has, in one call.
const inside = `pid=$(pgrep -P $(docker inspect -f '{{.State.Pid}}' stack-NAME-1) llama-server)
awk -F:'[ \t]*' '/^(NoNewPrivs|Seccomp|CapEff|CapBnd|Uid):/ {print $1 " " $2}' /proc/$pid/status
cat /proc/$pid/attr/current | sed 's/^/AppArmor /'
cg=/sys/fs/cgroup$(cut -d: -f3 /proc/$pid/cgroup)
echo memory $(cat $cg/memory.max)
echo pids $(cat $cg/pids.max)
echo links $(nsenter -t $pid -n ip -o link | awk '{print $2}')
echo root $(awk '$5 == "/" {print substr($6, 1, 2)}' /proc/$pid/mountinfo)
echo models $(ls /proc/$pid/root/models)`

// Three servers come up as one project and answer, each with its own model; what the containers have
// is read from the kernel; what somebody changes is reported by name and put right.
func TestComposeStackWithLlamaServerInThePlaceOfVLLM(t *testing.T) {
	p := vmtest.NewProject(t)
	p.Host("stack", composeStack(t, p))
	p.Up("stack")
	p.DestroyAtEnd("stack")
	for _, s := range stackWithoutVLLM {
		if got := strings.TrimSpace(p.Must("ask", "-s", "stack", "--server", s.name, "Who are you?").Stdout); got != s.reply {
			t.Errorf("%s answers %q, want %q", s.name, got, s.reply)
		}
		have := vmtest.On(t, strings.ReplaceAll(inside, "NAME", s.name))
		for _, want := range []string{
			"NoNewPrivs 1", "Seccomp 2", "CapEff 0000000000000000", "CapBnd 0000000000000000", "AppArmor docker-default (enforce)",
			fmt.Sprintf("memory %d", 256<<20), "pids 1024", "links lo:", "root ro", "models " + s.name + ".gguf",
		} {
			if !strings.Contains(have+"\n", want+"\n") {
				t.Errorf("%s hasn't %q:\n%s", s.name, want, have)
			}
		}
		if strings.Contains(have, "Uid 0") {
			t.Errorf("%s runs as root:\n%s", s.name, have)
		}
	}
	if have := vmtest.On(t, "ss -Hltn | grep -c docker-proxy || true; ss -Hltn | awk '{print $4}' | grep ':1800' | sort"); have != "0\n127.0.0.1:18000\n127.0.0.1:18001" {
		t.Errorf("the host listens on %s", have)
	}
	p.NoDrift("stack")

	vmtest.On(t, "docker update --memory 300m --memory-swap 300m stack-one-1; docker kill stack-two-1; docker run -d --label com.docker.compose.project=stack --name intruder --network none $(docker inspect -f '{{.Image}}' stack-one-1) --version")
	found := map[string]bool{}
	for _, f := range p.Drift("stack") {
		if f.Property != "differences" {
			continue
		}
		for name := range f.Have.(map[string]any) {
			found[name] = true
		}
	}
	for _, want := range []string{"one.memory", "one.memory_swap", "two.state", "intruder.container"} {
		if !found[want] {
			t.Errorf("drift doesn't report %s: %v", want, found)
		}
	}
	vmtest.On(t, "docker rm -f intruder")
	p.Up("stack", "--refresh")
	p.NoDrift("stack")
}
