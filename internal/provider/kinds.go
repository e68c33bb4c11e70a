package provider

import (
	"path"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// kind is what the middleware must know of a resource type.
type kind struct {
	// key are the inputs that make up the natural key, joined to a path.
	key []string
	// noDiff are inputs whose change is no change of the resource.
	noDiff []string
}

var kinds = map[string]kind{
	"File":            {key: []string{"path"}},
	"Directory":       {key: []string{"path"}},
	"SystemUser":      {key: []string{"name"}},
	"SystemdUnit":     {key: []string{"name"}},
	"Model":           {key: []string{"path"}, noDiff: []string{"source", "download", "hub", "token", "signature"}},
	"Engine":          {key: []string{"root", "sha256"}, noDiff: []string{"source"}},
	"Firewall":        {key: []string{"path"}},
	"SshdConfig":      {key: []string{"path"}},
	"AppArmorProfile": {key: []string{"path"}},
	"AuditRules":      {key: []string{"path"}},
	"Program":         {key: []string{"path"}},
	"Quadlet":         {key: []string{"user", "name"}},
	"EngineRoot":      {key: []string{"path"}},
	"Package":         {key: []string{"name"}},
	"Venv":            {key: []string{"root", "sha256"}, noDiff: []string{"requirements", "indexes", "engineRoot"}},
	"Image":           {key: []string{"runtime", "user", "reference"}, noDiff: []string{"source", "sha256"}},
	"Credential":      {key: []string{"path"}},
	"ComposeProject":  {key: []string{"name"}},
}

// id is the ID of a resource with these inputs, if they are known.
func (k kind) id(in property.Map) (string, bool) {
	var parts []string
	for _, key := range k.key {
		v := in.Get(key)
		if !v.IsString() || v.AsString() == "" {
			return "", false
		}
		parts = append(parts, v.AsString())
	}
	return path.Join(parts...), len(parts) > 0
}

// PendingID is the ID that a resource has or would have on the host, from its type token and
// inputs. IDs are deterministic, so a creation that a crash has cut off can be looked for.
func PendingID(token string, inputs resource.PropertyMap) (string, bool) {
	t := tokens.Type(token)
	k, ok := kinds[string(t.Name())]
	if !ok || t.Package() != Name {
		return "", false
	}
	return k.id(resource.FromResourcePropertyMap(inputs))
}
