package provider

import (
	"cmp"
	"maps"
	"path"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

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

// computedExposure is the score that a unit's properties of an older llmhost don't hold, so that
// an upgrade is no change of the unit.
func computedExposure(name string, unit property.Map) property.Map {
	content := unit.Get("content")
	if !content.IsString() {
		return property.Map{}
	}
	dropIns := map[string]string{}
	if d := unit.Get("dropIns"); d.IsMap() {
		for file, text := range d.AsMap().All {
			if text.IsString() {
				dropIns[file] = text.AsString()
			}
		}
	}
	is := exposureOf(name, content.AsString(), dropIns)
	if is == nil {
		return property.Map{}
	}
	return property.NewMap(map[string]property.Value{"exposure": property.New(*is)})
}
