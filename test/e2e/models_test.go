package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/testmodel"
	"github.com/llmhost/llmhost/test/vmtest"
)

// mayBeSentAgain is the most that a push may send of what had arrived before it was cut, in bytes.
const mayBeSentAgain = 32 << 20

// overhead is what may be sent beside the model: the agent's program, which a power cut may take
// from a host that has just got it, so that it is sent twice; and the conversation.
const overhead = 2*16<<20 + 2<<20

// folderDigest is the digest of a local folder.
func folderDigest(t *testing.T, path string) string {
	t.Helper()
	src, err := source.Local(path, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	sum, _, err := source.Digest(t.Context(), src, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// onHost demands a model's digest, as ordinary tools find it there.
func onHost(t *testing.T, path, digest string) {
	t.Helper()
	if got := vmtest.On(t, "sha256sum "+path+" | cut -c1-64"); got != digest {
		t.Errorf("%s on the host has the digest %s, want %s", path, got, digest)
	}
}

// A model in shards is a folder: deployed, verified, repaired and served as one.
func TestFolderModel(t *testing.T) {
	p := newProject(t)
	folder := t.TempDir()
	names, err := testmodel.WriteShards(folder, "tiny", 3, testmodel.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	draft := filepath.Join(t.TempDir(), "draft.gguf")
	draftDigest, _, err := testmodel.WriteFile(draft, testmodel.Spec{Layers: 1})
	if err != nil {
		t.Fatal(err)
	}
	digest := folderDigest(t, folder)
	blocks := fmt.Sprintf(`
  engine "llama.cpp" {
    source = %q
    sha256 = %q
  }
  model "sharded" {
    source = %q
    sha256 = %q
    companion "small" {
      kind   = "draft"
      source = %q
      sha256 = %q
    }
  }
  server "folder" {
    engine  = "llama.cpp"
    model   = "sharded"
    memory  = "1GiB"
    threads = 1
    context = 1024
  }`, vmtest.VM.EngineArchive, vmtest.VM.EngineSHA256, filepath.Join(folder, names[0]), digest, draft, draftDigest)
	p.Host("folder", blocks)
	before := vmtest.On(t, vmtest.Footprint)
	p.Up("folder")
	p.DestroyAtEnd("folder")

	ask := func() {
		t.Helper()
		if got := strings.TrimSpace(p.Must("ask", "-s", "folder", "What are you?").Stdout); got != testmodel.DefaultReply {
			t.Errorf("the model answers %q", got)
		}
	}
	ask()
	p.NoDrift("folder")
	vmtest.Unchanged(t, p.Up("folder", "--refresh"))
	if got := vmtest.On(t, "cd /srv/models/sharded && find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-64"); got != digest {
		t.Errorf("the documented command finds the digest %s, want %s", got, digest)
	}
	if got := vmtest.On(t, "stat -c '%a %U:%G' /srv/models/sharded /srv/models/sharded/* | sort | uniq -c | tr -s ' '"); got != "3 640 root:llm-models\n 1 750 root:llm-models" {
		t.Errorf("the attributes are\n%s", got)
	}
	// The server has its own model's files and nothing else, and the small model guesses for it.
	inside := vmtest.On(t, "ls -R /proc/$(systemctl show -p MainPID --value llmhost-folder.service)/root/models | grep gguf | sort")
	if want := strings.Join(append([]string{"sharded.small.gguf"}, names...), "\n"); inside != want {
		t.Errorf("the sandbox has the models\n%s\nwant\n%s", inside, want)
	}
	if got := vmtest.On(t, `curl -s --unix-socket /run/llmhost/folder/llm.sock http://x/v1/chat/completions -d '{"messages":[{"role":"user","content":"hi"}]}'`); !strings.Contains(got, `"draft_n_accepted"`) {
		t.Errorf("the draft model had no part in the answer: %s", got)
	}

	shard := "/srv/models/sharded/" + names[1]
	for _, round := range [][]tampering{
		{
			{"a byte of a shard", "printf X | dd of=" + shard + " bs=1 seek=4096 conv=notrunc status=none", "Model", "/srv/models/sharded", "sha256"},
			{"a shard's mode", "chmod 0666 " + shard, "Model", "/srv/models/sharded", "mode"},
			{"a shard's owner", "chown ops " + shard, "Model", "/srv/models/sharded", "owner"},
			{"a byte of the companion", "printf X | dd of=/srv/models/sharded.small.gguf bs=1 seek=4096 conv=notrunc status=none", "Model", "/srv/models/sharded.small.gguf", "sha256"},
		},
		{{"the folder's removal", "rm -r /srv/models/sharded", "Model", "/srv/models/sharded", ""}},
	} {
		for _, c := range round {
			vmtest.On(t, c.line)
		}
		found := p.Drift("folder")
		for _, c := range round {
			if !reported(found, c) {
				t.Errorf("%s (%s) is not reported as %s %s: %+v", c.what, c.line, c.id, c.property, found)
			}
		}
		p.Up("folder", "--refresh")
		p.NoDrift("folder")
	}
	ask()
	p.Must("destroy", "-s", "folder", "--yes", "--skip-preview", "--non-interactive")
	vmtest.Settled(t, before)
}

// A model whose header has grown is sent as what is new of it.
func TestChangedModelSendsWhatChanged(t *testing.T) {
	p := newProject(t)
	const size = 64 << 20
	source, digest := noise(t, testmodel.Noise{Bytes: size, Seed: 1})
	link := startProxy(t, vmtest.VM.Port)
	p.hostByKey("delta", link.Port(), modelBlock("blob", source, digest))
	p.Up("delta")
	p.DestroyAtEnd("delta")
	idle := link.Sent()
	p.Up("delta")
	idle = link.Sent() - idle // what an up sends that changes nothing

	source, digest = noise(t, testmodel.Noise{Bytes: size, Seed: 1, Template: strings.Repeat("another template ", 256)})
	p.hostByKey("delta", link.Port(), modelBlock("blob", source, digest))
	before := link.Sent()
	p.Up("delta")
	onHost(t, "/srv/models/blob.gguf", digest)
	if sent := link.Sent() - before - idle; sent > size*3/100 {
		t.Errorf("%d bytes were sent of a model of %d whose header has grown, want 3 %% at most", sent, size)
	}
}

// Whatever ends a push in its middle, the next one goes on where it ended: a cut link, a killed
// agent, a killed llmhost, and a host that loses its power.
func TestInterruptedPushGoesOn(t *testing.T) {
	const size, far = 96 << 20, 64 << 20
	interruptions := map[string]func(t *testing.T, link *proxy, up *background){
		"cut link":       func(_ *testing.T, link *proxy, _ *background) { link.Cut() },
		"killed agent":   func(t *testing.T, _ *proxy, _ *background) { vmtest.On(t, "pkill -9 llmhost-agent") },
		"killed llmhost": func(_ *testing.T, _ *proxy, up *background) { up.kill() },
		"power cut": func(t *testing.T, _ *proxy, _ *background) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
			defer cancel()
			if err := vmtest.VM.Reset(ctx); err != nil {
				t.Fatal(err)
			}
		},
	}
	if !vmtest.Long() { // the power cut and one other
		seed := uint64(time.Now().UnixNano())
		t.Logf("a sample of the %d interruptions, seed %d; LLMHOST_TEST_LONG=1 runs all", len(interruptions), seed)
		others := []string{"cut link", "killed agent", "killed llmhost"}
		one := mathrand.New(mathrand.NewPCG(seed, 0)).IntN(len(others))
		for _, name := range slices.Delete(others, one, one+1) {
			delete(interruptions, name)
		}
	}
	for name, interrupt := range interruptions {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			source, digest := blob(t, size)
			link := startProxy(t, vmtest.VM.Port)
			p.hostByKey("again", link.Port(), modelBlock("blob", source, digest))
			link.Throttle(8 << 20)
			up := p.start("up", "-s", "again", "--yes", "--skip-preview", "--non-interactive")
			p.DestroyAtEnd("again")
			for link.Sent() < far {
				select {
				case <-up.done:
					t.Fatalf("the push has ended before it was interrupted:\n%s", up.out.String())
				case <-time.After(20 * time.Millisecond):
				}
			}
			interrupt(t, link, up)
			switch name {
			case "killed agent": // the run goes on with another one
				link.Mend()
				if err := up.ended(); err != nil {
					t.Errorf("up, whose agent was killed: %v\n%s", err, up.out.String())
				}
			case "power cut": // the run goes on if the host is there again before it gives up
				link.Mend()
				if err := up.ended(); err != nil {
					vmtest.Absent(t, "/srv/models/blob.gguf")
					p.Up("again")
				}
			default:
				if err := up.ended(); err == nil {
					t.Fatalf("the push was interrupted and up ended with 0:\n%s", up.out.String())
				}
				vmtest.Absent(t, "/srv/models/blob.gguf")
				link.Mend()
				p.Up("again")
			}
			onHost(t, "/srv/models/blob.gguf", digest)
			if again := link.Sent() - size; again > mayBeSentAgain+overhead {
				t.Errorf("%d bytes were sent twice, want %d at most", again, int64(mayBeSentAgain))
			}
			if n := vmtest.On(t, "ls -A /srv/models | wc -l"); n != "1" {
				t.Errorf("something was left beside the model: %s", vmtest.On(t, "ls -A /srv/models"))
			}
			p.NoDrift("again")
		})
	}
}

// The host fetches a model by itself, from a server whose certificate it checks.
func TestHostFetchesFromAnAddress(t *testing.T) {
	p := newProject(t)
	const size = 16 << 20
	path, digest := blob(t, size)
	link := startProxy(t, vmtest.VM.Port)
	p.hostByKey("origin", link.Port(), "")
	p.Up("origin")
	p.DestroyAtEnd("origin")
	vmtest.On(t, "mkdir -p /data/site")
	toVM(t, path, "/data/site/origin.gguf")
	certificate, key := selfSigned(t, "localhost")
	vmtest.On(t, fmt.Sprintf(`cd /data && echo %s | base64 -d > cert.pem && echo %s | base64 -d > key.pem
cat > nginx.conf <<'END'
events {}
http { access_log off; server { listen 127.0.0.1:8443 ssl; ssl_certificate /data/cert.pem; ssl_certificate_key /data/key.pem; root /data/site; } }
END
systemd-run -q --unit=origin nginx -c /data/nginx.conf -e stderr -g 'daemon off;'`, certificate, key))
	t.Cleanup(func() { vmtest.On(t, "systemctl stop origin; rm -rf /data /etc/ssl/certs/llmhost-e2e.pem") })

	p.hostByKey("origin", link.Port(), modelBlock("fetched", "https://localhost:8443/origin.gguf", digest))
	r := p.Run("up", "-s", "origin", "--yes", "--skip-preview", "--non-interactive")
	if r.Code == 0 || !strings.Contains(r.All(), "certificate") {
		t.Errorf("a server whose certificate nobody vouches for ended with %d:\n%s", r.Code, r.All())
	}
	before := link.Sent() // the agent is there
	vmtest.On(t, "cp /data/cert.pem /etc/ssl/certs/llmhost-e2e.pem")
	p.Up("origin")
	onHost(t, "/srv/models/fetched.gguf", digest)
	if sent := link.Sent() - before; sent > size/2 {
		t.Errorf("%d bytes were sent from here, although the host fetches %d by itself", sent, size)
	}
	p.NoDrift("origin")

	p.hostByKey("origin", link.Port(), modelBlock("gone", "https://localhost:8443/gone.gguf", strings.Repeat("a", 64)))
	if r := p.Run("up", "-s", "origin", "--yes", "--skip-preview", "--non-interactive"); r.Code == 0 || !strings.Contains(r.All(), "404") {
		t.Errorf("an address without a file ended with %d:\n%s", r.Code, r.All())
	}
}

// selfSigned is a certificate for a name, and its key, both as PEM in base64.
func selfSigned(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", privateDER)
}

// A model that is on the host already stays where it is, whatever is declared and undeclared.
func TestModelInPlace(t *testing.T) {
	p := newProject(t)
	path, digest := blob(t, 4<<20)
	vmtest.On(t, "mkdir -p /data")
	t.Cleanup(func() { vmtest.On(t, "rm -r /data") })
	toVM(t, path, "/data/mine.gguf")
	vmtest.On(t, "printf X >> /data/mine.gguf && chmod 0600 /data/mine.gguf")
	mine := vmtest.On(t, "sha256sum /data/mine.gguf | cut -c1-64")

	p.Host("there", modelBlock("mine", "host:/data/mine.gguf", digest))
	r := p.Run("up", "-s", "there", "--yes", "--skip-preview", "--non-interactive")
	p.DestroyAtEnd("there")
	if r.Code == 0 || !strings.Contains(r.All(), mine) || !strings.Contains(r.All(), digest) {
		t.Errorf("another digest than the pinned one ended with %d, and both aren't shown:\n%s", r.Code, r.All())
	}
	onHost(t, "/data/mine.gguf", mine)

	vmtest.On(t, "truncate -s -1 /data/mine.gguf")
	inode := vmtest.On(t, "stat -c %i /data/mine.gguf")
	p.Up("there")
	if got := vmtest.On(t, "stat -c '%i %a %U:%G' /data/mine.gguf"); got != inode+" 640 root:llm-models" {
		t.Errorf("what was adopted is %s; its inode was %s", got, inode)
	}
	p.NoDrift("there")
	p.Host("there", "")
	p.Up("there")
	onHost(t, "/data/mine.gguf", digest)
}

// Two models of the same bytes are on the disk once, and the second is not sent.
func TestSameBytesAreStoredOnce(t *testing.T) {
	p := newProject(t)
	const size = 32 << 20
	path, digest := blob(t, size)
	link := startProxy(t, vmtest.VM.Port)
	p.hostByKey("twice", link.Port(), modelBlock("a", path, digest))
	p.Up("twice")
	p.DestroyAtEnd("twice")
	before := link.Sent()
	p.hostByKey("twice", link.Port(), modelBlock("a", path, digest)+modelBlock("b", path, digest))
	p.Up("twice")
	if sent := link.Sent() - before; sent > size/4 {
		t.Errorf("%d bytes were sent of a model that the host has under another name", sent)
	}
	onHost(t, "/srv/models/b.gguf", digest)
	if kib := vmtest.On(t, "du -sk /srv/models | cut -f1"); len(kib) > 5 || kib > "40000" {
		t.Errorf("the two take %s KiB, want the size of one", kib)
	}
	// One goes and the other stays whole.
	p.hostByKey("twice", link.Port(), modelBlock("b", path, digest))
	p.Up("twice")
	onHost(t, "/srv/models/b.gguf", digest)
	p.NoDrift("twice")
}

// A format that runs code is refused before a byte of it is sent.
func TestPickleIsRefused(t *testing.T) {
	p := newProject(t)
	folder := t.TempDir()
	weights := append([]byte("\x80\x04"), make([]byte, 8<<20)...)
	if err := os.WriteFile(filepath.Join(folder, "pytorch_model.bin"), weights, 0o600); err != nil {
		t.Fatal(err)
	}
	link := startProxy(t, vmtest.VM.Port)
	file := `
  file "/etc/llmhost-pickle.conf" {
    content = "x\n"
  }`
	p.hostByKey("pickle", link.Port(), file)
	p.Up("pickle") // the agent is there
	p.DestroyAtEnd("pickle")
	before := link.Sent()
	p.hostByKey("pickle", link.Port(), file+modelBlock("bad", folder, folderDigest(t, folder)))
	r := p.Run("up", "-s", "pickle", "--yes", "--skip-preview", "--non-interactive")
	if r.Code == 0 || !strings.Contains(r.All(), "pytorch_model.bin") || !strings.Contains(r.All(), "allow_pickle") {
		t.Errorf("a pickle ended with %d and isn't named with the way out:\n%s", r.Code, r.All())
	}
	if sent := link.Sent() - before; sent > int64(len(weights))/4 {
		t.Errorf("%d bytes were sent", sent)
	}
	vmtest.Absent(t, "/srv/models/bad")
}
