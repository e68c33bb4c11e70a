package hostfile

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func desktopFacts() *Facts {
	return &Facts{
		Architecture:   "amd64",
		OS:             OSFact{ID: "debian", Version: "13"},
		Kernel:         "6.12.0-amd64",
		SystemdVersion: 257,
		CPU:            CPUFact{Model: "Ryzen 9", Cores: 32},
		MemoryBytes:    67_349_639_168,
		GPUs:           []GPUFact{{Vendor: "nvidia", Name: "RTX 4090", Driver: "570.1", VRAMBytes: 24 << 30}},
		AppArmor:       true, SSHPorts: []int{22},
		DeviceClasses: []string{"char-nvidia", "char-drm"},
	}
}

func TestFactsAreSavedAndLoaded(t *testing.T) {
	host := filepath.Join(t.TempDir(), "desktop.hcl")
	if f, err := LoadFacts(host); f != nil || err != nil {
		t.Fatalf("facts of a host that wasn't probed: %v, %v", f, err)
	}
	if err := desktopFacts().Save(FactsPath(host)); err != nil {
		t.Fatal(err)
	}
	path := strings.TrimSuffix(host, "desktop.hcl") + "desktop.facts.json"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/desktop.facts.json", string(text))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a new file has mode %v, %v", info.Mode(), err)
	}
	loaded, err := LoadFacts(host)
	if err != nil {
		t.Fatal(err)
	}
	if diffs := Compare(desktopFacts(), loaded); len(diffs) != 0 {
		t.Errorf("facts changed on the way through the file: %v", diffs)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("besides the facts there is %v, %v", entries, err)
	}
}

func TestTheOrderOfAProbeDoesNotShow(t *testing.T) {
	a, b := desktopFacts(), desktopFacts()
	a.GPUs = append(a.GPUs, GPUFact{Vendor: "amd", Name: "iGPU"})
	b.GPUs = append([]GPUFact{{Vendor: "amd", Name: "iGPU"}}, b.GPUs...)
	b.DeviceClasses = []string{"char-drm", "char-nvidia"}
	if diffs := Compare(a, b); len(diffs) != 0 {
		t.Errorf("a difference where only the order differs: %v", diffs)
	}
	dir := t.TempDir()
	var texts []string
	for i, f := range []*Facts{a, b} {
		path := filepath.Join(dir, []string{"a", "b"}[i])
		if err := f.Save(path); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	if texts[0] != texts[1] {
		t.Errorf("two probes of one machine are saved differently:\n%s", cmp.Diff(texts[0], texts[1]))
	}
}

// Every field counts: whichever one is another, exactly that one is reported.
func TestEveryFactIsCompared(t *testing.T) {
	leaves := 0
	var perturb func(v reflect.Value, report func())
	perturb = func(v reflect.Value, report func()) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				perturb(v.Field(i), report)
			}
			return
		case reflect.Slice:
			perturb(v.Index(0), report)
			return
		}
		leaves++
		before := reflect.ValueOf(v.Interface())
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Int:
			v.SetInt(v.Int() + 1)
		case reflect.Uint64:
			v.SetUint(v.Uint() + 1)
		case reflect.Bool:
			v.SetBool(!v.Bool())
		default:
			t.Fatalf("a fact of kind %s, which this test doesn't know", v.Kind())
		}
		report()
		v.Set(before)
	}
	have := desktopFacts()
	seen := map[string]bool{}
	perturb(reflect.ValueOf(have).Elem(), func() {
		diffs := Compare(desktopFacts(), have)
		if len(diffs) != 1 || diffs[0].Want == diffs[0].Have {
			t.Errorf("one fact changed, reported: %v", diffs)
			return
		}
		seen[diffs[0].Property] = true
	})
	if len(seen) != leaves {
		t.Errorf("%d facts, of which only these are told apart: %v", leaves, seen)
	}
}

func TestCompare(t *testing.T) {
	have := desktopFacts()
	have.OS.Version = "14"
	have.MemoryBytes++
	have.GPUs = nil
	have.DeviceClasses = []string{"char-drm"}
	want := []FactDiff{
		{"deviceClasses", "char-drm, char-nvidia", "char-drm"},
		{"gpus[0].driver", "570.1", ""},
		{"gpus[0].name", "RTX 4090", ""},
		{"gpus[0].vendor", "nvidia", ""},
		{"gpus[0].vramBytes", "25769803776", ""},
		{"memoryBytes", "67349639168", "67349639169"},
		{"os.version", "13", "14"},
	}
	if diff := cmp.Diff(want, Compare(desktopFacts(), have)); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	if diffs := Compare(nil, desktopFacts()); len(diffs) == 0 || diffs[0].Want != "" {
		t.Errorf("facts against none: %v", diffs)
	}
}

func TestADamagedFactsFile(t *testing.T) {
	host := filepath.Join(t.TempDir(), "desktop.hcl")
	if err := os.WriteFile(FactsPath(host), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadFacts(host); err == nil || !strings.Contains(err.Error(), "llmhost probe") {
		t.Errorf("error %v; want one that says what to do", err)
	}
}
