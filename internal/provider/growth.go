package provider

import (
	"fmt"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// versionKey is the output that names the version which wrote a resource's state.
const versionKey = "providerVersion"

// refuseNewer stops an llmhost from working on the state of a newer one. Properties that it
// doesn't know would be dropped when it writes the state again. A newer patch version adds
// none.
func refuseNewer(urn resource.URN, id string, state property.Map) error {
	v := state.Get(versionKey)
	if !v.IsString() {
		return nil
	}
	wrote, err := semver.Parse(v.AsString())
	if err != nil {
		return fmt.Errorf("the state of %s %s names an llmhost version that can't be read, %q: %w", kindOf(urn), id, v.AsString(), err)
	}
	ours := semver.MustParse(Version)
	if wrote.Major < ours.Major || wrote.Major == ours.Major && wrote.Minor <= ours.Minor {
		return nil
	}
	return fmt.Errorf("the state of %s %s was written by llmhost %s, and this is llmhost %s, which could lose what it doesn't know: use llmhost %d.%d or newer",
		kindOf(urn), id, wrote, ours, wrote.Major, wrote.Minor)
}
