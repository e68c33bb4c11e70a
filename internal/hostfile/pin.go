package hostfile

import (
	"github.com/hashicorp/hcl/v2"
)

// Pin is a local file whose digest a host file holds.
type Pin struct {
	Block  string // "engine" or "model"
	Name   string
	Source string // absolute path of the local file
	SHA256 string // "" when the host file has no valid digest yet
}

// LoadPins reads the pins of a host file, which must be valid apart from its digests.
func LoadPins(path string) ([]Pin, hcl.Diagnostics) {
	src, diags := read(path)
	if diags.HasErrors() {
		return nil, diags
	}
	host, diags := parse(src, path, func(f attributeFault) bool { return f.attribute == "sha256" })
	if diags.HasErrors() {
		return nil, diags
	}
	var pins []Pin
	for _, e := range host.Engines {
		pins = append(pins, Pin{"engine", e.Name, e.Source, e.SHA256})
	}
	for _, m := range host.Models {
		pins = append(pins, Pin{"model", m.Name, m.Source.Text, m.SHA256})
	}
	return pins, nil
}

// Edit is the change of the host file that sets the digest.
func (p Pin) Edit(sha256 string) Edit {
	return Edit{Block: p.Block, Name: p.Name, Attribute: "sha256", Value: sha256}
}
