package fit

import "testing"

// llama70B is Llama 3.3 70B Instruct in Q4_K_M: 80 blocks, 8 heads of 128 numbers for keys and for values.
var llama70B = Shape{Size: 42_520_398_432, Layers: 80, KVPerToken: 2 * 80 * 8 * 128 * 2, Vocabulary: 128256, Width: 8192}

func TestKVCacheFollowsTheContext(t *testing.T) {
	ram, vram := LlamaCpp(Use{Model: Part{llama70B, true}, Context: 8192, Parallel: 1})
	if want := uint64(8192 * 327680); ram.KV != want { // 2560 MiB, as llama.cpp prints it for this model
		t.Errorf("KV cache of %d bytes, want %d", ram.KV, want)
	}
	if vram.Sum() != 0 {
		t.Errorf("a server without layers on a GPU takes %d bytes there", vram.Sum())
	}
	if got := Cells(8193); got != 8448 {
		t.Errorf("8193 tokens take %d cells, want 8448", got)
	}
}

func TestLayersTakeTheirShare(t *testing.T) {
	none, _ := LlamaCpp(Use{Model: Part{llama70B, true}, Context: 8192})
	ram, vram := LlamaCpp(Use{Model: Part{llama70B, true}, Context: 8192, GPULayers: 20})
	if got, want := vram.Weights, llama70B.Size*20/80; got != want {
		t.Errorf("20 of 80 layers take %d bytes on the GPU, want %d", got, want)
	}
	if ram.Weights+vram.Weights != none.Weights || ram.KV+vram.KV != none.KV {
		t.Error("what leaves main memory isn't what comes to the GPU")
	}
	if ram.Compute == 0 || vram.Compute == 0 {
		t.Error("a model in two places is worked on in both")
	}
	all, gpu := LlamaCpp(Use{Model: Part{llama70B, true}, Context: 8192, GPULayers: 99})
	if all.Weights != 0 || all.KV != 0 || all.Compute != 0 || gpu.Weights != llama70B.Size {
		t.Errorf("with all layers on the GPU main memory holds %+v", all)
	}
}

func TestCompanionsCountWhole(t *testing.T) {
	mmproj := Part{Shape: Shape{Size: 800 * mib, Layers: 24, KVPerToken: 1 << 20}}
	draft := Part{Shape{Size: 500 * mib, Layers: 16, KVPerToken: 32 << 10, Vocabulary: 1000, Width: 1000}, true}
	alone, _ := LlamaCpp(Use{Model: Part{llama70B, true}, Context: 4096})
	with, _ := LlamaCpp(Use{Model: Part{llama70B, true}, Companions: []Part{mmproj, draft}, Context: 4096})
	if got := with.Weights - alone.Weights; got != 1300*mib {
		t.Errorf("companions add %d bytes of weights", got)
	}
	if got := with.KV - alone.KV; got != 4096*32<<10 {
		t.Errorf("companions add %d bytes of KV cache: a draft has one, a projector none", got)
	}
}

func TestLimitLeavesRoom(t *testing.T) {
	for _, sum := range []uint64{1, 255 * mib, gib, 42_520_398_432} {
		limit := Limit(Need{Weights: sum})
		if limit < sum+sum/8 || limit%(256*mib) != 0 {
			t.Errorf("a need of %d bytes is limited to %d", sum, limit)
		}
	}
}
