package engine

import (
	"runtime/debug"

	"github.com/pulumi/pulumi/sdk/v3/go/common/version"
)

// PulumiVersion is the version of the engine that is built in, as the module was required.
func PulumiVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/pulumi/pulumi/pkg/v3" {
			return m.Version
		}
	}
	return ""
}

// Pulumi's releases set their version when they are linked; here it comes from the module. It is
// written into the state, and a state without one can't be told from a broken one.
func init() {
	if version.Version == "" {
		version.Version = PulumiVersion()
	}
}
