package provider

import "github.com/pulumi/pulumi/sdk/v3/go/property"

// keepUnknown puts back the inputs that aren't known yet and that infer has lost: it decodes
// an unknown list to no list, and the preview would show the list as removed.
func keepUnknown(out, in property.Map) property.Map {
	for key, v := range in.All {
		if _, ok := out.GetOk(key); !ok && v.IsComputed() {
			out = out.Set(key, v)
		}
	}
	return out
}
