package provider

import (
	"cmp"
	"maps"
	"path"
	"slices"

	"github.com/llmhost/llmhost/internal/exposure"
)

// worst is the score of a unit whose text can't be read.
const worst = 10.0

// exposureOf is the score of a service with its drop-ins, from 0 to 10, nil for other units.
func exposureOf(name, content string, dropIns map[string]string) *float64 {
	if path.Ext(name) != ".service" {
		return nil
	}
	// systemd reads them by the names of the files, whatever folder they are in.
	files := slices.SortedFunc(maps.Keys(dropIns), func(a, b string) int {
		return cmp.Or(cmp.Compare(path.Base(a), path.Base(b)), cmp.Compare(a, b))
	})
	var texts []string
	for _, file := range files {
		texts = append(texts, dropIns[file])
	}
	report, err := exposure.Of(content, texts...)
	if err != nil {
		return new(worst)
	}
	return new(report.Score.Float())
}

// fillExposure computes what is never given, so that a unit that gets worse shows it.
func (c *checks) fillExposure(in *SystemdUnitArgs) {
	if !c.known("exposure") || !c.known("name") || !c.known("content") || !c.known("dropIns") {
		return
	}
	is := exposureOf(in.Name, in.Content, in.DropIns)
	if given := in.Exposure; given != nil && (is == nil || *given != *is) {
		c.fail("exposure", "isn't given: it is computed from the unit's text")
		return
	}
	in.Exposure = is
}
