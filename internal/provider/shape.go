package provider

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// shapes are the properties of each resource type, taken from the provider's own schema so
// that no list of fields is kept twice. infer decodes a state strictly: one property too many
// or too few fails every operation, so a state is brought into shape before infer sees it.
type shapes struct {
	byToken func() map[string]shape
}

type shape struct {
	inputs, outputs object
}

// object is a set of named properties.
type object map[string]field

type field struct {
	kind     string // of the schema: string, integer, number, boolean, array, object
	required bool
	secret   bool
	preset   any    // default in the schema, or nil
	nested   object // when the property is an object type of ours
}

func newShapes(inner p.Provider) *shapes {
	return &shapes{byToken: sync.OnceValue(func() map[string]shape {
		spec, err := p.GetSchema(context.Background(), Name, Version, inner)
		if err != nil {
			panic(fmt.Sprintf("provider: its own schema is invalid: %v", err))
		}
		types := map[string]object{}
		for token, t := range spec.Types {
			o := object{}
			for name, prop := range t.Properties {
				o[name] = field{kind: prop.Type, secret: prop.Secret, preset: prop.Default}
			}
			for _, name := range t.Required {
				f := o[name]
				f.required = true
				o[name] = f
			}
			types[token] = o
		}
		all := map[string]shape{}
		for token, r := range spec.Resources {
			s := shape{inputs: object{}, outputs: object{}}
			for name, prop := range r.Properties {
				s.outputs[name] = field{kind: prop.Type, secret: prop.Secret, nested: types[typeOf(prop.Ref)]}
			}
			for name, prop := range r.InputProperties {
				f := field{kind: prop.Type, secret: prop.Secret, preset: prop.Default, nested: types[typeOf(prop.Ref)]}
				s.inputs[name] = f
				s.outputs[name] = f
			}
			s.inputs.require(r.RequiredInputs)
			s.outputs.require(r.Required)
			all[token] = s
		}
		return all
	})}
}

func typeOf(ref string) string { return strings.TrimPrefix(ref, "#/types/") }

func (o object) require(names []string) {
	for _, name := range names {
		f := o[name]
		f.required = true
		o[name] = f
	}
}

func (s *shapes) of(urn resource.URN) shape { return s.byToken()[string(urn.Type())] }

// natural are the properties that a resource's ID tells.
func (s shape) natural(k kind, id string) property.Map {
	switch {
	case id == "" || len(k.key) == 0:
		return property.Map{}
	case len(k.key) == 1:
		return property.NewMap(map[string]property.Value{k.key[0]: property.New(id)})
	default:
		return property.NewMap(map[string]property.Value{
			k.key[0]: property.New(path.Dir(id)), k.key[1]: property.New(path.Base(id)),
		})
	}
}

// fit drops what this version doesn't know and fills in what the writer didn't know yet: from
// known, else the property's default, else its type's zero value if it is required.
func (o object) fit(m property.Map, known property.Map) property.Map {
	m = o.prune(m)
	for name, f := range o {
		if v, ok := m.GetOk(name); ok {
			if f.nested != nil && v.IsMap() {
				m = m.Set(name, property.WithGoValue(v, f.nested.fit(v.AsMap(), property.Map{})))
			}
			continue
		}
		if v, ok := known.GetOk(name); ok {
			m = m.Set(name, v)
		} else if v, ok := f.fill(); ok {
			m = m.Set(name, v)
		}
	}
	return m
}

func (f field) fill() (property.Value, bool) {
	switch v := f.preset.(type) {
	case string:
		return property.New(v), true
	case bool:
		return property.New(v), true
	case float64:
		return property.New(v), true
	}
	if !f.required {
		return property.Value{}, false
	}
	switch f.kind {
	case "string":
		return property.New(""), true
	case "boolean":
		return property.New(false), true
	case "integer", "number":
		return property.New(0.0), true
	case "array":
		return property.New([]property.Value{}), true
	default:
		return property.New(map[string]property.Value{}), true
	}
}

// prune drops properties that this version doesn't know, in nested objects too.
func (o object) prune(m property.Map) property.Map {
	for name, v := range m.All {
		f, ok := o[name]
		switch {
		case !ok:
			m = m.Delete(name)
		case f.nested != nil && v.IsMap():
			m = m.Set(name, property.WithGoValue(v, f.nested.prune(v.AsMap())))
		}
	}
	return m
}

// secure marks the properties that the schema calls secret. infer does it in Check alone, so
// that what Read found would be in state, and on the screen, in clear.
func (o object) secure(m property.Map) property.Map {
	for name, v := range m.All {
		if o[name].secret && !v.IsNull() {
			m = m.Set(name, v.WithSecret(true))
		}
	}
	return m
}
