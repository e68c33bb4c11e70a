package hostfile

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llmhost/llmhost/internal/modelfile"
)

// load reads a valid host file with a home folder that is the same everywhere.
func load(t *testing.T, path string) *Host {
	t.Helper()
	t.Setenv("HOME", "/home/me")
	host, diags := Load(path)
	if err := AsError(diags); err != nil {
		t.Fatal(err)
	}
	return host
}

var ignorePlaces = cmp.Options{cmpopts.IgnoreTypes(Place{}), cmpopts.EquateComparable(netip.Prefix{})}

func TestEveryAttributeIsDecoded(t *testing.T) {
	requirementsText, err := os.ReadFile("testdata/vllm.txt")
	if err != nil {
		t.Fatal(err)
	}
	testdata, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	got := load(t, "testdata/full.hcl")
	want := &Host{
		Name:     "full",
		File:     "testdata/full.hcl",
		Timezone: "America/Chicago",
		SSH: &SSH{
			Address:    "desktop.lan",
			Port:       2222,
			User:       "ops",
			Identity:   "/home/me/.ssh/id_ed25519",
			KnownHosts: testdata + "/keys/known_hosts",
			HostKey:    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
			Jump:       "me@bastion:2200",
		},
		GPUs:        []GPU{{Vendor: "nvidia", Index: 1, VRAM: 24 << 30, Bandwidth: 1008e9, PowerLimit: 300}},
		Containers:  []Containers{{Runtime: RuntimeDocker, Install: true, NVIDIA: true}},
		ModelsPath:  "/data/models",
		VerifyEvery: 24 * time.Hour,
		MaxExposure: 1.5,
		Hub:         "https://hub.example.org",
		Engines: []Engine{{
			Name:       "cuda",
			Kind:       KindLlamaCpp,
			Source:     "/engines/llama.cpp.tar.zst",
			SHA256:     strings.Repeat("0123456789abcdef", 4),
			Executable: "opt/llama/llama-server",
		}, {
			Name:   "vllm-image",
			Kind:   KindVLLM,
			Source: "/engines/vllm.tar",
			SHA256: strings.Repeat("0123456789abcdef", 4),
			Image:  "sha256:" + strings.Repeat("0123456789abcdef", 4),
		}, {
			Name:    "debian",
			Kind:    KindLlamaCpp,
			Package: "llama.cpp-tools",
			Version: "8064+dfsg-1",
		}, {
			Name:         "vllm-venv",
			Kind:         KindVLLM,
			Requirements: testdata + "/vllm.txt",
			Indexes:      []string{"https://pypi.org/simple", "/srv/wheels"},

			RequirementsText: string(requirementsText),
		}},
		Models: []Model{{
			Name: "llama-3.3-70b",
			Source: modelfile.Source{
				Text:       "hf://org/llama-gguf@0123456789abcdef0123456789abcdef01234567/q4/llama-00001-of-00003.gguf",
				Kind:       modelfile.Hub,
				Folder:     true,
				Repository: "org/llama-gguf",
				Revision:   "0123456789abcdef0123456789abcdef01234567",
				Path:       "q4/llama-00001-of-00003.gguf",
			},
			SHA256:      strings.Repeat("fedcba9876543210", 4),
			Retain:      true,
			Download:    DownloadHere,
			AllowPickle: true,
			Shape:       &Shape{Size: 42520398432, Layers: 80, KVPerToken: 320 << 10, Vocabulary: 128256, Width: 8192},
			Signature:   &Signature{Key: "/home/me/keys/org.pub", File: testdata + "/org.sig"},
			Companions: []Companion{{
				Name:   "vision",
				Kind:   MMProj,
				Source: modelfile.Source{Text: filepath.Dir(testdata) + "/models/mmproj.gguf", Kind: modelfile.Local, Path: filepath.Dir(testdata) + "/models/mmproj.gguf"},
				SHA256: strings.Repeat("a", 64),
				Shape:  &Shape{Size: 800 << 20, Layers: 24, KVPerToken: 64 << 10, Vocabulary: 1000, Width: 1024},
			}},
		}, {
			Name: "qwen3-8b",
			Source: modelfile.Source{
				Text:       "hf://Qwen/Qwen3-8B@0123456789abcdef0123456789abcdef01234567",
				Kind:       modelfile.Hub,
				Folder:     true,
				Repository: "Qwen/Qwen3-8B",
				Revision:   "0123456789abcdef0123456789abcdef01234567",
			},
			SHA256:   strings.Repeat("fedcba9876543210", 4),
			Download: DownloadByHost,
		}},
		Servers: []Server{{
			Name:         "hybrid",
			Engine:       "cuda",
			Runtime:      RuntimeSystemd,
			Model:        "llama-3.3-70b",
			Listen:       Listen{Addr: netip.MustParseAddrPort("127.0.0.1:8002")},
			GPULayers:    40,
			Context:      8192,
			Threads:      8,
			Parallel:     2,
			Memory:       48 << 30,
			CPUs:         6.5,
			GPUs:         []int{1},
			Exclusive:    "large",
			APIKey:       "family",
			AppArmor:     AppArmorComplain,
			ReadyTimeout: 10 * time.Minute,
			StopTimeout:  2 * time.Minute,
			Relaxed: []Relax{{
				Directive: "SystemCallFilter", Values: []string{"@system-service", "~@privileged"}, Reason: "it pins its threads to the fast cores",
			}},
			Limits:  &Limits{NOFILE: 65536, NPROC: 512, Tasks: 600, AddressSpace: 64 << 30, Core: 1 << 30},
			Restart: &Restart{Delay: 5 * time.Second, Burst: 3, Interval: 10 * time.Minute},
		}, {
			Name:                 "fast",
			Engine:               "vllm-image",
			Runtime:              RuntimeCompose,
			Project:              "front",
			Model:                "qwen3-8b",
			Listen:               Listen{Addr: netip.MustParseAddrPort("127.0.0.1:8000")},
			Context:              4096,
			Parallel:             1,
			Memory:               16 << 30,
			User:                 "1000:1000",
			ReadyTimeout:         5 * time.Minute,
			StopTimeout:          30 * time.Second,
			Quantization:         "fp8",
			AttentionBackend:     "flashinfer",
			GPUMemoryUtilization: 0.8,
		}},
		Secrets: []Secret{
			{Name: "family", Kind: SecretAPIKey, MaxAge: 720 * time.Hour, Overlap: 48 * time.Hour},
			{Name: "signing", Kind: SecretHMAC, MaxAge: 2160 * time.Hour, Overlap: 24 * time.Hour},
		},
		Directories: []Directory{{Path: "/srv/notes", Mode: 0o2770, Owner: "ops", Group: "users", Adopt: true}},
		Files: []File{
			{Path: "/etc/motd.d/llmhost", Content: "A host of ${USER}.\n", Mode: 0o644, Owner: "1000", Group: "users", Guard: new(true), Adopt: true},
			{Path: "/srv/notes/a.txt", Source: testdata + "/a.txt", Mode: 0o600, Owner: "root", Group: "root"},
		},
		Audit: true,
		Sshd:  &Sshd{PasswordAuthentication: true, KeyboardInteractive: true, PermitRootLogin: "no", AllowUsers: []string{"ops", "me"}},
		Firewall: &Firewall{Policy: PolicyDrop, Allows: []Allow{{Name: "notes", Port: 5353, Protocol: "udp",
			From: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("fd00::1/128")}, Interface: "eth0"}}},
	}
	if diff := cmp.Diff(want, got, ignorePlaces, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("the host (-want +got):\n%s", diff)
	}
}

// A field that no attribute fills, or an attribute that the full example lacks, is one that was forgotten. Where one block
// can't have them all, several have them together.
func TestTheFullExampleIsFull(t *testing.T) {
	host := load(t, "testdata/full.hcl")
	filled := map[reflect.Type]map[string]bool{}
	written := map[string]map[string]bool{}
	look := func(block string, value any) {
		v := reflect.ValueOf(value).Elem()
		if filled[v.Type()] == nil {
			filled[v.Type()], written[block] = map[string]bool{}, map[string]bool{}
		}
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				filled[v.Type()][v.Type().Field(i).Name] = true
			}
		}
		for name := range value.(placed).place().Attributes {
			written[block][name] = true
		}
	}
	look("host", host)
	look("ssh", host.SSH)
	for i := range host.GPUs {
		look("gpu", &host.GPUs[i])
	}
	look("containers", &host.Containers[0])
	for i := range host.Engines {
		look("engine", &host.Engines[i])
	}
	for i := range host.Models {
		look("model", &host.Models[i])
	}
	look("signature", host.Models[0].Signature)
	look("companion", &host.Models[0].Companions[0])
	for i := range host.Servers {
		look("server", &host.Servers[i])
	}
	for i := range host.Secrets {
		look("secret", &host.Secrets[i])
	}
	look("directory", &host.Directories[0])
	for i := range host.Files {
		look("file", &host.Files[i])
	}
	for block, names := range filled {
		for i := range block.NumField() {
			name := block.Field(i).Name
			if !names[name] && !(block == reflect.TypeFor[Host]() && name == "Local") {
				t.Errorf("%s.%s is empty after every attribute was decoded", block.Name(), name)
			}
		}
	}
	blocks := append([]block{schema}, schema.blocks...)
	for _, b := range schema.blocks {
		blocks = append(blocks, b.blocks...)
	}
	for _, b := range blocks {
		names, ok := written[b.name]
		if !ok {
			continue
		}
		for _, a := range b.attributes {
			if !names[a.name] {
				t.Errorf("testdata/full.hcl doesn't write %s.%s", b.name, a.name)
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	got := parseBody(t, `
  local {}
  engine "llama.cpp" {
    source = "a.tar"
    sha256 = "`+strings.Repeat("a", 64)+`"
  }
  model "tiny" {
    source = "a.gguf"
    sha256 = "`+strings.Repeat("a", 64)+`"
  }
  server "chat" {
    engine = "llama.cpp"
    model  = "tiny"
    memory = "1GiB"
  }
  directory "/srv/notes" {}
  file "/srv/notes/empty" {
    content = ""
  }`)
	if got.Timezone != "UTC" || got.ModelsPath != "/srv/models" || got.Local == nil || got.SSH != nil || got.GPUs != nil {
		t.Errorf("the host's defaults: %+v", got)
	}
	want := Server{Name: "chat", Engine: "llama.cpp", Runtime: "systemd", Model: "tiny", Listen: Listen{Unix: true}, Context: 4096, Parallel: 1, Memory: 1 << 30, ReadyTimeout: 5 * time.Minute, StopTimeout: 30 * time.Second}
	if diff := cmp.Diff(want, got.Servers[0], ignorePlaces, cmpopts.IgnoreFields(Listen{}, "Addr")); diff != "" {
		t.Errorf("the server's defaults (-want +got):\n%s", diff)
	}
	if got.VerifyEvery != 7*24*time.Hour || got.Hub != "https://huggingface.co" {
		t.Errorf("models are verified every %s, and the hub is %s", got.VerifyEvery, got.Hub)
	}
	if m := got.Models[0]; m.Download != DownloadByHost || m.Retain || m.AllowPickle || m.Signature != nil || m.Companions != nil {
		t.Errorf("the model's defaults: %+v", m)
	}
	if e := got.Engine("llama.cpp"); e == nil || e.Kind != KindLlamaCpp || e.Program() != "usr/bin/llama-server" {
		t.Errorf("the engine's defaults: %+v", e)
	}
	if d := got.Directories[0]; d.Mode.String() != "0750" || d.Owner != "root" || d.Group != "root" || d.Adopt {
		t.Errorf("the directory's defaults: %+v", d)
	}
	if f := got.Files[0]; f.Mode.String() != "0600" || f.Owner != "root" || f.Group != "root" || f.Adopt {
		t.Errorf("the file's defaults: %+v", f)
	}
}

// parseBody parses a valid host block with the given content.
func parseBody(t *testing.T, body string) *Host {
	t.Helper()
	host, diags := Parse([]byte("host \"x\" {\n"+body+"\n}\n"), "x.hcl")
	if diags.HasErrors() {
		t.Fatalf("%v", diags.Errs())
	}
	return host
}

func TestNamesOnTheHost(t *testing.T) {
	host := load(t, "testdata/full.hcl")
	s := host.Server("hybrid")
	for _, c := range []struct{ got, want string }{
		{s.UserName(), "llm-hybrid"},
		{s.UnitName(), "llmhost-hybrid.service"},
		{s.Socket(), "/run/llmhost/hybrid/llm.sock"},
		{host.ModelFile(host.Model("llama-3.3-70b")), "/data/models/llama-3.3-70b"},
		{host.ModelEntry(host.Model("llama-3.3-70b")), "/data/models/llama-3.3-70b/llama-00001-of-00003.gguf"},
		{host.CompanionFile(host.Model("llama-3.3-70b"), &host.Models[0].Companions[0]), "/data/models/llama-3.3-70b.vision.gguf"},
		{s.Listen.String(), "127.0.0.1:8002"},
		{Listen{Unix: true}.String(), "unix"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
	if host.Engine("none") != nil || host.Model("none") != nil || host.Server("none") != nil {
		t.Error("a name that isn't there was found")
	}
}

// A file keeps its model's name, a folder too, and what the host has already stays where it is.
func TestPlacesOfModels(t *testing.T) {
	host := parseBody(t, `
  local {}
  model "file" {
    source = "a.gguf"
    sha256 = "`+strings.Repeat("a", 64)+`"
    companion "draft" {
      kind   = "draft"
      source = "host:/data/draft.gguf"
      sha256 = "`+strings.Repeat("a", 64)+`"
    }
  }
  model "folder" {
    source = "some/folder"
    sha256 = "`+strings.Repeat("a", 64)+`"
  }
  model "there" {
    source = "host:/data/a/b.gguf"
    sha256 = "`+strings.Repeat("a", 64)+`"
  }
  model "split" {
    source = "host:/data/split/b-00002-of-00003.gguf"
    sha256 = "`+strings.Repeat("a", 64)+`"
  }`)
	for name, want := range map[string]struct{ file, entry string }{
		"file":   {"/srv/models/file.gguf", "/srv/models/file.gguf"},
		"folder": {"/srv/models/folder", "/srv/models/folder"},
		"there":  {"/data/a/b.gguf", "/data/a/b.gguf"},
		"split":  {"/data/split", "/data/split/b-00001-of-00003.gguf"},
	} {
		m := host.Model(name)
		if got := host.ModelFile(m); got != want.file {
			t.Errorf("model %s is %s, not %s", name, got, want.file)
		}
		if got := host.ModelEntry(m); got != want.entry {
			t.Errorf("model %s is started with %s, not %s", name, got, want.entry)
		}
	}
	if got := host.CompanionFile(host.Model("file"), &host.Models[0].Companions[0]); got != "/data/draft.gguf" {
		t.Errorf("the companion is %s", got)
	}
}

func TestPlacesPointIntoTheFile(t *testing.T) {
	host := load(t, "testdata/full.hcl")
	s := host.Server("hybrid")
	text, err := os.ReadFile("testdata/full.hcl")
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(text), `"127.0.0.1:8002"`)
	if at := s.At("listen"); at.Start.Line != 1+strings.Count(before, "\n") || at.Filename != "testdata/full.hcl" {
		t.Errorf("listen is at %s", at)
	}
	if at := host.Files[1].At("mode"); at != host.Files[1].Range {
		t.Errorf("an attribute that isn't written is at %s and not at its block", at)
	}
}

// The hosts that come with llmhost are valid, also in a fresh clone that has none of the files they name.
func TestShippedHostsAreValid(t *testing.T) {
	paths, err := Paths("../../hosts")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range paths {
		h, diags := Load(path)
		if err := AsError(diags); err != nil {
			t.Error(err)
			continue
		}
		names = append(names, h.Name)
	}
	for _, name := range []string{"desktop", "lab", "vps"} {
		if !strings.Contains(strings.Join(names, " "), name) {
			t.Errorf("hosts/%s.hcl is missing; there are %v", name, names)
		}
	}
}

// What an editor or a version control leaves in the folder is no host file.
func TestPathsAreHostFilesAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.hcl", "a.hcl", ".hidden.hcl", "a.hcl.orig", "a.facts.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.hcl"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := Paths(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "a.hcl"), filepath.Join(dir, "b.hcl")}, got); diff != "" {
		t.Errorf("the host files: %s", diff)
	}
}

func TestAMissingFileSuggestsTheOthers(t *testing.T) {
	host, diags := Load("testdata/ful.hcl")
	if host != nil || !diags.HasErrors() {
		t.Fatal("a file that isn't there was loaded")
	}
	if text := AsError(diags).Error(); !strings.Contains(text, `Did you mean "full.hcl"?`) {
		t.Errorf("no suggestion in: %s", text)
	}
}

func TestCheckSources(t *testing.T) {
	dir := t.TempDir()
	text := `host "x" {
  local {}
  engine "llama.cpp" {
    source = "engine.tar"
    sha256 = "` + strings.Repeat("a", 64) + `"
  }
  model "tiny" {
    source = "tiny.gguf"
    sha256 = "` + strings.Repeat("a", 64) + `"
  }
  model "split" {
    source = "split-00001-of-00002.gguf"
    sha256 = "` + strings.Repeat("a", 64) + `"
  }
  model "elsewhere" {
    source = "https://models.example/a.gguf"
    sha256 = "` + strings.Repeat("a", 64) + `"
    signature {
      key  = "no.pub"
      file = "no.sig"
    }
    companion "vision" {
      kind   = "mmproj"
      source = "vision.gguf"
      sha256 = "` + strings.Repeat("a", 64) + `"
    }
  }
  model "single" {
    source = "tiny"
    sha256 = "` + strings.Repeat("a", 64) + `"
  }
  file "/etc/a" {
    source = "folder"
  }
  file "/etc/b" {
    content = "needs no source"
  }
}
`
	file := filepath.Join(dir, "x.hcl")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tiny.gguf", "tiny"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host, diags := Load(file)
	if err := AsError(diags); err != nil {
		t.Fatalf("validation asked for local files: %v", err)
	}
	var got []string
	for _, d := range host.CheckSources() {
		got = append(got, position(*d.Subject)+": "+d.Summary)
	}
	want := []string{
		file + `:4,14-26: the source of engine "llama.cpp" isn't there`,
		file + `:12,14-41: the source of model "split" isn't there`,
		file + `:24,16-29: the source of companion "vision" of model "elsewhere" isn't there`,
		file + `:19,14-22: the key of model "elsewhere" isn't there`,
		file + `:20,14-22: the signature of model "elsewhere" isn't there`,
		file + `:29,14-20: the source of model "single" is no folder`,
		file + `:33,14-22: the source of file "/etc/a" is no file`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("missing sources (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.hcl", "testdata/faults/*.hcl", "../../hosts/*.hcl"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			src, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		host, diags := Parse(src, "x.hcl")
		if (host == nil) != diags.HasErrors() {
			t.Errorf("host %v with diagnostics %v", host, diags)
		}
		// What is shown to a reader is written without a fault too.
		if err := WriteDiagnostics(&strings.Builder{}, diags, nil, true, 80); err != nil {
			t.Error(err)
		}
	})
}
