package hostfile

import (
	"github.com/hashicorp/hcl/v2"

	"github.com/llmhost/llmhost/internal/modelfile"
)

// Pin is something whose digest a host file holds.
type Pin struct {
	Block  string // "engine", "model" or "companion"
	Name   string // the block's label; MODEL/NAME for a companion
	Source modelfile.Source
	SHA256 string // "" when the host file has no valid digest yet
	Kind   string // of a companion
	Shape  *Shape // of a model or a companion; nil: not known
	// Image is the id of the container image in the source, "" when the host file has no valid one
	// yet; nil for what is no image.
	Image *string
}

// LoadUnpinned is Load of a host file whose digests may be missing or wrong; those are empty.
func LoadUnpinned(path string) (*Host, hcl.Diagnostics) {
	src, diags := read(path)
	if diags.HasErrors() {
		return nil, diags
	}
	return ParseUnpinned(src, path)
}

// ParseUnpinned is Parse of a host file whose digests may be missing or wrong; those are empty.
//
// So may be the ids of container images that are loaded from an archive, and a server's memory, which follows from a model's shape that isn't written yet.
func ParseUnpinned(src []byte, filename string) (*Host, hcl.Diagnostics) {
	return parse(src, filename, func(f attributeFault) bool {
		return f.attribute == "sha256" || f.attribute == "shape" || f.attribute == "image"
	})
}

// Pins lists everything whose digest the host file holds.
func (h *Host) Pins() []Pin {
	var pins []Pin
	for _, e := range h.Engines {
		if e.Source == "" {
			continue // pinned by a version, an image's digest, or the digests in a requirements file
		}
		pin := Pin{Block: "engine", Name: e.Name, Source: modelfile.Source{Text: e.Source, Kind: modelfile.Local, Path: e.Source}, SHA256: e.SHA256}
		if e.Form() == FormImage {
			pin.Image = &e.Image
		}
		pins = append(pins, pin)
	}
	for _, m := range h.Models {
		pins = append(pins, Pin{modelBlock, m.Name, m.Source, m.SHA256, "", m.Shape, nil})
		for _, c := range m.Companions {
			pins = append(pins, Pin{companionBlock, m.Name + "/" + c.Name, c.Source, c.SHA256, c.Kind, c.Shape, nil})
		}
	}
	return pins
}

// Edit is the change of the host file that sets the digest.
func (p Pin) Edit(sha256 string) Edit {
	return Edit{Block: p.Block, Name: p.Name, Attribute: "sha256", Value: sha256}
}

// EditImage is the change of the host file that sets the id of an engine's container image.
func (p Pin) EditImage(id string) Edit {
	return Edit{Block: p.Block, Name: p.Name, Attribute: "image", Value: id}
}
