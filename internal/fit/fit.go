// Package fit works out how much memory a model server needs, from what the model is and how it is to be used.
//
// It exists so that servers which can't be together on a machine are refused before anything is deployed, with the arithmetic
// shown, and so that nobody has to guess a server's memory limit. It is arithmetic alone: it reads no file and asks no machine,
// and every figure in it has its source in a comment or is named as a judgement.
package fit

// Shape is what of a model decides how much memory it needs. Zero means that it isn't known.
type Shape struct {
	Size       uint64 // bytes of its weights
	Layers     int    // transformer blocks
	KVPerToken uint64 // bytes of the KV cache for one token in all layers, with 16 bits a number
	Vocabulary int    // tokens
	Width      int    // numbers of one token's state (the embedding's length)
}

// Part is a model that a server has loaded: its model or a companion.
type Part struct {
	Shape Shape
	// Attends says that the part reads the context, so that it has a KV cache: a model or a draft does, an adapter or a
	// projector doesn't.
	Attends bool
}

// Use is how a server uses its model.
type Use struct {
	Model      Part
	Companions []Part
	Context    int // tokens, of all requests together
	Parallel   int // requests at the same time
	GPULayers  int // blocks on the GPU; 0: no GPU is used
}

// Need is how much memory something needs, in bytes.
type Need struct {
	Weights  uint64
	KV       uint64 // the KV cache
	Compute  uint64 // what a batch of tokens needs while it is worked on
	Overhead uint64 // the program, its libraries, the driver
}

// Sum is all of it.
func (n Need) Sum() uint64 { return n.Weights + n.KV + n.Compute + n.Overhead }

func (n Need) plus(o Need) Need {
	return Need{n.Weights + o.Weights, n.KV + o.KV, n.Compute + o.Compute, n.Overhead + o.Overhead}
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

// What llama-server takes beside a model. All are judgements: a process with a tiny model was measured well below the first
// (docs/doctor.md), and no GPU was there to measure with.
const (
	llamaProgram    = 192 * mib // the process with its libraries, its vocabulary and its slots' buffers
	llamaEachSlot   = 8 * mib   // a request's own buffers
	driverInRAM     = gib       // what CUDA or ROCm map and pin in main memory
	driverInVRAM    = 512 * mib // a driver's context and its kernels on each GPU
	vllmInRAM       = 8 * gib   // PyTorch, its compiled code, and the buffers through which weights go to the GPU
	llamaBatch      = 512       // tokens that are worked on together (llama-server's default for --ubatch-size)
	llamaCells      = 256       // llama.cpp rounds the cells of a KV cache up to a multiple (llama-context.cpp)
	bytesPerElement = 4         // intermediate results are 32-bit
)

// LlamaCpp is what a llama-server, or an engine that runs models by it, needs in main memory and on all its GPUs together.
//
// Weights are mapped: those that stay in main memory must fit there, or the server reads them from the disk again for every
// token. Blocks on the GPU take their share of weights and KV cache there.
func LlamaCpp(u Use) (ram, vram Need) {
	ram.Overhead = llamaProgram + uint64(u.Parallel)*llamaEachSlot
	for _, p := range append([]Part{u.Model}, u.Companions...) {
		here, there := part(p, u)
		ram, vram = ram.plus(here), vram.plus(there)
	}
	if u.GPULayers > 0 {
		ram.Overhead += driverInRAM
		vram.Overhead += driverInVRAM
	}
	return ram, vram
}

// part is one model's need. A model whose blocks aren't known is on neither side in part: with layers on the GPU it is all
// there.
func part(p Part, u Use) (ram, vram Need) {
	onGPU, all := 0, max(p.Shape.Layers, 1)
	if u.GPULayers > 0 {
		onGPU = min(u.GPULayers, all)
		if !p.Attends || p.Shape.Layers == 0 {
			onGPU = all // companions go to the GPU whole, whatever -ngl says of the model
		}
	}
	share := func(n uint64) uint64 { return n * uint64(onGPU) / uint64(all) }
	vram.Weights = share(p.Shape.Size)
	ram.Weights = p.Shape.Size - vram.Weights
	if !p.Attends {
		return ram, vram
	}
	kv := uint64(Cells(u.Context)) * p.Shape.KVPerToken
	vram.KV = share(kv)
	ram.KV = kv - vram.KV
	// The largest intermediate result is that of the last step: each token's state, and a number for each word of the vocabulary.
	compute := uint64(min(llamaBatch, u.Context)) * uint64(p.Shape.Vocabulary+p.Shape.Width) * bytesPerElement
	if onGPU > 0 {
		vram.Compute = compute
	}
	if onGPU < all {
		ram.Compute = compute
	}
	return ram, vram
}

// Cells is how many tokens a KV cache has room for, for a context.
func Cells(context int) int { return (context + llamaCells - 1) / llamaCells * llamaCells }

// VLLM is what vLLM needs in main memory; on each GPU it takes the part of the memory that it is told to take, whatever the
// model needs.
func VLLM() (ram Need) { return Need{Overhead: vllmInRAM} }

// UtilizationByDefault is the part of a GPU's memory that vLLM takes when it isn't told (docs.vllm.ai, --gpu-memory-utilization).
const UtilizationByDefault = 0.9

// Limit is the memory limit for a need: an eighth more, since an estimate isn't a measurement, in whole 256 MiB.
func Limit(n Need) uint64 {
	const step = 256 * mib
	return (n.Sum() + n.Sum()/8 + step - 1) / step * step
}
