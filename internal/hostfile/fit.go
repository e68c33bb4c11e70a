package hostfile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/llmhost/llmhost/internal/fit"
)

// shape is what is known of a model's needs; ok is false when nothing is.
func (s *Shape) shape() (fit.Shape, bool) {
	if s == nil {
		return fit.Shape{}, false
	}
	return fit.Shape{
		Size: uint64(s.Size), Layers: s.Layers, KVPerToken: uint64(s.KVPerToken), Vocabulary: s.Vocabulary, Width: s.Width,
	}, true
}

// Needs is how much memory a server needs by what its model is: in main memory, and on each of its GPUs. ok is false when the
// host file doesn't say enough of the model or a companion.
func (h *Host) Needs(s *Server) (ram, vram fit.Need, ok bool) {
	engine, model := h.Engine(s.Engine), h.Model(s.Model)
	if engine == nil || model == nil {
		return ram, vram, false
	}
	gpus := h.GPUsOf(s)
	if engine.Kind == KindVLLM {
		least := Bytes(0)
		for _, g := range gpus {
			if g.VRAM > 0 && (least == 0 || g.VRAM < least) {
				least = g.VRAM
			}
		}
		vram.Overhead = uint64(cmp.Or(s.GPUMemoryUtilization, fit.UtilizationByDefault) * float64(least))
		return fit.VLLM(), vram, true
	}
	use := fit.Use{Context: s.Context, Parallel: s.Parallel, GPULayers: s.GPULayers}
	if use.Model.Shape, ok = model.Shape.shape(); !ok {
		return ram, vram, false
	}
	use.Model.Attends = true
	for i := range model.Companions {
		c := &model.Companions[i]
		part := fit.Part{Attends: c.Kind == Draft}
		if part.Shape, ok = c.Shape.shape(); !ok {
			return ram, vram, false
		}
		use.Companions = append(use.Companions, part)
	}
	ram, vram = fit.LlamaCpp(use)
	// llama.cpp spreads the layers over all GPUs that it sees.
	if n := uint64(len(gpus)); n > 1 {
		vram = fit.Need{Weights: vram.Weights / n, KV: vram.KV / n, Compute: vram.Compute, Overhead: vram.Overhead}
	}
	return ram, vram, true
}

// checkMemory derives the memory limit of a server that has none, and looks at one that was written.
func (d *decoder) checkMemory(h *Host, s *Server) {
	if h.Engine(s.Engine) == nil || h.Model(s.Model) == nil {
		return // reported already
	}
	ram, _, known := h.Needs(s)
	_, written := s.Attributes["memory"]
	switch {
	case !written && known:
		s.Memory = Bytes(fit.Limit(ram))
	case !written:
		d.errorAt(s.Range, fmt.Sprintf("server %q has no memory", s.Name),
			"It follows from the model's shape, which llmhost pin writes into the block of model %q. Or write it: memory = %q.", s.Model, "8GiB")
		d.concerns("shape") // which is what is missing: a value that is faulty is another fault
	case known && s.Memory > 0 && uint64(s.Memory) < ram.Sum():
		d.warnAt(s.At("memory"), fmt.Sprintf("server %q is given %s, and needs some %s", s.Name, s.Memory, human(ram.Sum())),
			"%s\nWith less than the weights it reads them from the disk again for every token; with less than the rest the kernel ends it. "+
				"Leave memory out to have it derived (%s), or make context (%d) or parallel (%d) smaller.",
			ramTable([]row{{s.Name, ram}}, "", 0), Bytes(fit.Limit(ram)), s.Context, s.Parallel)
	}
}

// row is one line of the arithmetic.
type row struct {
	name string
	need fit.Need
}

// systemReserve is left to the operating system and to llmhost's agent: a judgement.
const systemReserve = 1 << 30

// CheckFit finds servers that can't be together on the machine, by what the host file says of models and GPUs and by what the
// machine has. Without facts the sizes that only they hold aren't looked at. Of a group of which one server runs at a time
// the largest counts.
func (h *Host) CheckFit(facts *Facts) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for i := range h.GPUs {
		if diag := h.checkVRAM(&h.GPUs[i], facts); diag != nil {
			diags = append(diags, diag)
		}
	}
	if facts == nil {
		return diags
	}
	if diag := h.checkRAM(facts); diag != nil {
		diags = append(diags, diag)
	}
	return append(diags, h.checkProcessors(facts)...)
}

// together lists what of the servers is at the same place at the same time: the alternatives of a group are one, the largest.
func (h *Host) together(needOf func(*Server) (fit.Need, bool)) (rows []row, last *Server, sum uint64) {
	groups := map[string]int{}
	for i := range h.Servers {
		s := &h.Servers[i]
		need, uses := needOf(s)
		if !uses {
			continue
		}
		last = s
		at, alternative := groups[s.Exclusive]
		switch {
		case s.Exclusive == "" || !alternative:
			groups[s.Exclusive] = len(rows)
			rows = append(rows, row{s.Name, need})
		case need.Sum() > rows[at].need.Sum():
			rows[at] = row{s.Name, need}
		}
	}
	for i, r := range rows {
		sum += r.need.Sum()
		if s := h.Server(r.name); s.Exclusive != "" {
			rows[i].name += " (" + s.Exclusive + ")"
		}
	}
	return rows, last, sum
}

// VRAMOf is the memory of a GPU: what the host file says, else what the machine does. 0: nobody does.
func (h *Host) VRAMOf(g *GPU, facts *Facts) Bytes {
	if g.VRAM > 0 {
		return g.VRAM
	}
	if fact := facts.Card(g.Vendor, g.Index); fact != nil {
		return Bytes(fact.VRAMBytes)
	}
	return 0
}

func (h *Host) checkVRAM(g *GPU, facts *Facts) *hcl.Diagnostic {
	capacity := h.VRAMOf(g, facts)
	if capacity == 0 {
		return nil
	}
	rows, last, sum := h.together(func(s *Server) (fit.Need, bool) {
		if !slices.ContainsFunc(h.GPUsOf(s), func(o GPU) bool { return o.Index == g.Index }) {
			return fit.Need{}, false
		}
		if h.Engine(s.Engine).Kind == KindVLLM {
			return fit.Need{Overhead: uint64(cmp.Or(s.GPUMemoryUtilization, fit.UtilizationByDefault) * float64(capacity))}, true
		}
		_, vram, known := h.Needs(s)
		return vram, known
	})
	if sum <= uint64(capacity) {
		return nil
	}
	at := g.Range
	if last != nil {
		at = last.Range
	}
	return errorAt(at, fmt.Sprintf("the servers don't fit on GPU %d: they need %s, and it has %s", g.Index, human(sum), human(uint64(capacity))),
		"%s\nGive one fewer gpu_layers, a smaller context, or (vLLM) a smaller gpu_memory_utilization; another GPU with gpus = […]; "+
			"or declare servers of which one runs at a time: exclusive = %q in each.",
		table(rows, fmt.Sprintf("GPU %d has", g.Index), uint64(capacity)), "NAME")
}

func (h *Host) checkRAM(facts *Facts) *hcl.Diagnostic {
	if facts.MemoryBytes == 0 {
		return nil
	}
	capacity := facts.MemoryBytes - min(facts.MemoryBytes, systemReserve)
	rows, last, sum := h.together(func(s *Server) (fit.Need, bool) {
		ram, _, known := h.Needs(s)
		return ram, known
	})
	if sum > capacity {
		return errorAt(last.Range, fmt.Sprintf("the servers don't fit in main memory: they need %s, and there are %s", human(sum), human(capacity)),
			"%s\nPut more layers on a GPU, make a context smaller, or declare servers of which one runs at a time: exclusive = %q in each.",
			ramTable(rows, "the machine has, less 1.0 GiB for the system", capacity), "NAME")
	}
	limits, last, sum := h.together(func(s *Server) (fit.Need, bool) { return fit.Need{Overhead: uint64(s.Memory)}, s.Memory > 0 })
	if sum <= capacity {
		return nil
	}
	var lines [][]string
	for _, r := range limits {
		lines = append(lines, []string{r.name, human(r.need.Sum())})
	}
	lines = append(lines, []string{"together", human(sum)}, []string{"the machine has, less 1.0 GiB for the system", human(capacity)})
	return warnAt(last.Range, fmt.Sprintf("the servers' memory limits together are more than the machine has: %s of %s", human(sum), human(capacity)),
		"%s\nWhen all of them use what they may, the kernel ends one that did nothing wrong. Leave memory out to have it derived from the model.",
		columns(append([][]string{{"server", "limit"}}, lines...)))
}

// checkProcessors warns of a server that asks for more than there is.
func (h *Host) checkProcessors(facts *Facts) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for i := range h.Servers {
		s := &h.Servers[i]
		if cores := facts.CPU.Cores; cores > 0 && s.Threads > cores {
			diags = append(diags, warnAt(s.At("threads"), fmt.Sprintf("server %q has %d threads, and the machine has %d cores", s.Name, s.Threads, cores),
				"More threads than cores make llama.cpp slower, since each step waits for the slowest one. Write threads = %d or fewer.", cores))
		}
	}
	return diags
}

// table is the arithmetic on a GPU, and ramTable that in main memory.
func table(rows []row, has string, capacity uint64) string {
	lines := [][]string{{"server", "weights", "KV cache", "compute", "driver", "sum"}}
	return arithmetic(lines, rows, has, capacity)
}

func ramTable(rows []row, has string, capacity uint64) string {
	lines := [][]string{{"server", "weights", "KV cache", "compute", "program", "sum"}}
	return arithmetic(lines, rows, has, capacity)
}

func arithmetic(lines [][]string, rows []row, has string, capacity uint64) string {
	sum := uint64(0)
	for _, r := range rows {
		n := r.need
		sum += n.Sum()
		line := []string{r.name}
		for _, part := range []uint64{n.Weights, n.KV, n.Compute, n.Overhead} {
			if part == 0 {
				line = append(line, "-")
				continue
			}
			line = append(line, human(part))
		}
		lines = append(lines, append(line, human(n.Sum())))
	}
	if len(rows) > 1 {
		lines = append(lines, []string{"together", "", "", "", "", human(sum)})
	}
	if has != "" {
		lines = append(lines, []string{has, "", "", "", "", human(capacity)})
	}
	return columns(lines)
}

// columns lays out a table. Its lines are indented, which keeps them whole in a diagnostic.
func columns(lines [][]string) string {
	widths := map[int]int{}
	for _, line := range lines {
		for i, cell := range line {
			// A label that has a line to itself may run into the columns of numbers.
			if i == 0 && len(line) > 2 && line[1] == "" {
				continue
			}
			widths[i] = max(widths[i], len(cell))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		text, at := "", 0
		for i, cell := range line {
			at += widths[i] + 2
			if i == 0 {
				text = "  " + cell
				continue
			}
			if cell != "" {
				text += strings.Repeat(" ", max(1, at-len(text)-len(cell))) + cell
			}
		}
		b.WriteString(text + "\n")
	}
	return b.String()
}

// human is an amount for people: 12.3 GiB.
func human(n uint64) string {
	for _, u := range []struct {
		suffix string
		bytes  float64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if v := float64(n) / u.bytes; v >= 1 {
			return strconv.FormatFloat(v, 'f', 1, 64) + " " + u.suffix
		}
	}
	return strconv.FormatUint(n, 10) + " B"
}
