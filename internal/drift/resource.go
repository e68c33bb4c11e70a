package drift

import (
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// Secret stands for a secret value, OtherSecret for one that the host has otherwise.
const (
	Secret      = "[secret]"
	OtherSecret = "[secret, another value]"
)

// Resource identifies what a finding is about.
type Resource struct{ URN, Type, Name, ID string }

// Properties are a resource's, as it was deployed or as the host has it.
type Properties struct{ Inputs, Outputs resource.PropertyMap }

// Missing is the finding that the host does not have the resource.
func (r Resource) Missing() Finding {
	return Finding{URN: r.URN, Type: r.Type, Name: r.Name, ID: r.ID, Kind: Missing}
}

// Changed lists the properties that differ. Paths are property paths such as mode, groups[1] or
// dropIns["a.conf"], each with whether it is an input's.
func (r Resource) Changed(want, have Properties, paths map[string]bool) []Finding {
	findings := make([]Finding, 0, len(paths))
	for path, input := range paths {
		f := Finding{URN: r.URN, Type: r.Type, Name: r.Name, ID: r.ID, Kind: Changed, Property: path}
		wanted, wantSecret := want.at(path, input)
		found, haveSecret := have.at(path, input)
		f.Want, f.Have = shown(wanted), shown(found)
		if wantSecret || haveSecret {
			f.Want, f.Have = Secret, OtherSecret
		}
		findings = append(findings, f)
	}
	Sort(findings)
	return findings
}

// at walks to the value at a path. Where the preferred side has none, the other one may.
func (p Properties) at(path string, input bool) (v resource.PropertyValue, secret bool) {
	parsed, err := resource.ParsePropertyPath(path)
	if err != nil {
		parsed = resource.PropertyPath{path} // not a path after all, but a name
	}
	first, second := p.Inputs, p.Outputs
	if !input {
		first, second = second, first
	}
	if v, secret, ok := walk(resource.NewObjectProperty(first), parsed); ok {
		return v, secret
	}
	v, secret, _ = walk(resource.NewObjectProperty(second), parsed)
	return v, secret
}

// walk follows a path through objects and lists, and through the secrets on its way.
func walk(v resource.PropertyValue, path resource.PropertyPath) (_ resource.PropertyValue, secret, ok bool) {
	for _, step := range path {
		var inner bool
		v, inner = reveal(v)
		secret = secret || inner
		switch key := step.(type) {
		case string:
			if !v.IsObject() {
				return resource.PropertyValue{}, secret, false
			}
			if v, ok = v.ObjectValue()[resource.PropertyKey(key)]; !ok {
				return resource.PropertyValue{}, secret, false
			}
		case int:
			if !v.IsArray() || key < 0 || key >= len(v.ArrayValue()) {
				return resource.PropertyValue{}, secret, false
			}
			v = v.ArrayValue()[key]
		}
	}
	v, inner := reveal(v)
	return v, secret || inner, true
}

// reveal takes the wrappings of secrets and outputs off a value.
func reveal(v resource.PropertyValue) (_ resource.PropertyValue, secret bool) {
	for {
		switch {
		case v.IsSecret():
			v, secret = v.SecretValue().Element, true
		case v.IsOutput():
			secret = secret || v.OutputValue().Secret
			v = v.OutputValue().Element
		default:
			return v, secret
		}
	}
}

// shown is a value as plain data, with the secrets inside it masked.
func shown(v resource.PropertyValue) any {
	v, secret := reveal(v)
	switch {
	case secret:
		return Secret
	case v.IsObject():
		m := make(map[string]any, len(v.ObjectValue()))
		for k, e := range v.ObjectValue() {
			m[string(k)] = shown(e)
		}
		return m
	case v.IsArray():
		l := make([]any, 0, len(v.ArrayValue()))
		for _, e := range v.ArrayValue() {
			l = append(l, shown(e))
		}
		return l
	case v.IsComputed():
		return "[unknown]"
	default:
		return v.Mappable()
	}
}
