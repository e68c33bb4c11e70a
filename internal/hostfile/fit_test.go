package hostfile

import (
	"path/filepath"
	"strings"
	"testing"
)

// machine is a desktop with 62.5 GiB of main memory and 32 cores.
var machine = &Facts{MemoryBytes: 67108864000, CPU: CPUFact{Cores: 32}}

// What doesn't fit is refused with its arithmetic; the golden files are what a user reads.
func TestWhatFitsIsGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/fit/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no host files (%v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			host, diags := Load(file)
			if host != nil {
				diags = append(diags, host.CheckFit(machine)...)
			}
			var text strings.Builder
			if err := WriteDiagnostics(&text, diags, nil, false, 100); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, Extension)+".golden", text.String())
		})
	}
}

// A machine that nobody has asked isn't assumed to be too small, and a declared GPU is believed.
func TestFitWithoutFacts(t *testing.T) {
	for file, refused := range map[string]bool{"ram": false, "vram": true} {
		host := load(t, "testdata/fit/"+file+".hcl")
		if got := host.CheckFit(nil).HasErrors(); got != refused {
			t.Errorf("%s is refused without facts: %t, want %t", file, got, refused)
		}
	}
	host := load(t, "testdata/fit/vram.hcl")
	host.GPUs[0].VRAM = 0
	if host.CheckFit(nil).HasErrors() {
		t.Error("a GPU of which nothing is known is too small")
	}
	probed := *machine
	probed.GPUs = []GPUFact{{Vendor: "nvidia", VRAMBytes: 16 << 30}}
	if diags := host.CheckFit(&probed); !diags.HasErrors() || !strings.Contains(diags[0].Summary, "has 16.0 GiB") {
		t.Errorf("the GPU's memory isn't taken from the facts: %v", diags)
	}
}

// A model on two GPUs takes half of its weights on each, and each server is counted where it runs.
func TestEachGPUIsCountedByItself(t *testing.T) {
	host := load(t, "testdata/fit/vram.hcl")
	second := host.GPUs[0]
	second.Index = 1
	host.GPUs = append(host.GPUs, second)
	host.Server("fast").GPUs = []int{1}
	host.Server("hybrid").GPUs = []int{0}
	if diags := host.CheckFit(machine); diags.HasErrors() {
		t.Errorf("servers on different GPUs are added up: %v", diags)
	}
	host.Server("hybrid").GPUs = []int{0, 1}
	_, spread, _ := host.Needs(host.Server("hybrid"))
	host.Server("hybrid").GPUs = []int{0}
	_, alone, _ := host.Needs(host.Server("hybrid"))
	if spread.Weights != alone.Weights/2 || spread.Overhead != alone.Overhead {
		t.Errorf("on each of two GPUs %+v, on one %+v", spread, alone)
	}
}

func TestMemoryIsDerived(t *testing.T) {
	host := load(t, "testdata/fit/exclusive.hcl")
	for name, want := range map[string]Bytes{"a": 48 << 30, "small": 1536 << 20} {
		if got := host.Server(name).Memory; got != want {
			t.Errorf("server %s has the memory limit %d, want %d", name, got, want)
		}
	}
}
