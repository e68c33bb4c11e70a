package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/dustin/go-humanize"
)

// keptTable is how long it takes to look at many models that nothing has touched.
type keptTable struct {
	Models  int     `json:"models"`
	Size    uint64  `json:"size"`    // bytes of each
	Seconds float64 `json:"seconds"` // of llmhost model ls
}

const (
	keptModels = 100
	keptSize   = 8 << 20
)

func keep(ctx context.Context, o *options, work string) (*keptTable, error) {
	work = filepath.Join(work, "unchanged")
	defer os.RemoveAll(work)
	b, err := newBench(ctx, o, work, keptSize)
	if err != nil {
		return nil, err
	}
	defer b.close()
	for i := range keptModels {
		b.model = filepath.Join(work, "here", fmt.Sprintf("m%03d.gguf", i))
		if _, err := writeRandom(b.model, keptSize, uint64(i)); err != nil {
			return nil, err
		}
		if _, err := b.far.measure(ctx, b.push(b.host, b.model)); err != nil {
			return nil, err
		}
	}
	ls := b.push(b.host, b.model)
	ls.args = []string{b.bin, "model", "ls", ls.args[4], "--identity", b.host.key, "--known-hosts", b.host.known}
	var took []float64
	for range max(o.runs, 3) {
		s, err := b.far.measure(ctx, ls)
		if err != nil {
			return nil, err
		}
		took = append(took, s.Seconds)
	}
	slices.Sort(took)
	t := &keptTable{Models: keptModels, Size: keptSize, Seconds: took[len(took)/2]}
	fmt.Fprintf(o.out, "\n%d models of %s, none changed: all looked at in %.2f s (llmhost model ls, whole process).\n", t.Models, humanize.Bytes(t.Size), t.Seconds)
	return t, nil
}
