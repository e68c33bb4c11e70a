package systemd

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/coreos/go-systemd/v22/unit"
)

// section is one section of a unit file: a pointer to its fields.
type section struct {
	name   string
	fields any
	kind   Kind // whose units have it; empty for all
}

// sections are those of all kinds, in the order in which they are written.
func (u *Unit) sections() []section {
	return []section{
		{"Unit", &u.Unit, ""},
		{"Container", &u.Container, KindContainer},
		{"Service", &u.Service, KindService},
		{"Socket", &u.Socket, KindSocket},
		{"Timer", &u.Timer, KindTimer},
		{"Path", &u.Path, KindPath},
		{"Slice", &u.Slice, KindSlice},
		{"Install", &u.Install, ""},
		{"X-Sandbox", &u.Sandbox, KindService},
	}
}

// has tells whether units of this kind have a section.
func (k Kind) has(s section) bool {
	return s.kind == "" || s.kind == cmp.Or(k, KindService) || k == KindContainer && s.kind == KindService
}

// Text renders the unit file. Every directive that can't be written is in the error, by its
// name.
func (u Unit) Text() (string, error) {
	if !slices.Contains(kinds, cmp.Or(u.Kind, KindService)) {
		return "", fmt.Errorf("%q is no kind of unit that can be written", u.Kind)
	}
	var options []*unit.UnitOption
	var faults []error
	for _, s := range u.sections() {
		written, err := s.options()
		faults = append(faults, err)
		if len(written) > 0 && !u.Kind.has(s) {
			faults = append(faults, fmt.Errorf("%s=: a %s has no section [%s]", written[0].Name, cmp.Or(u.Kind, KindService), s.name))
		}
		options = append(options, written...)
	}
	if err := errors.Join(faults...); err != nil {
		return "", err
	}
	text, err := io.ReadAll(unit.Serialize(options))
	if err != nil {
		return "", fmt.Errorf("write the unit: %w", err)
	}
	return string(text), nil
}

// options are the section's assignments, in the order of its fields.
func (s section) options() (options []*unit.UnitOption, err error) {
	var faults []error
	fields := reflect.ValueOf(s.fields).Elem()
	for i := range fields.NumField() {
		directive := fields.Type().Field(i).Name
		field := fields.Field(i)
		if field.Kind() == reflect.Pointer && field.IsNil() {
			continue
		}
		assignments, err := field.Interface().(value).assignments()
		if err != nil {
			faults = append(faults, fmt.Errorf("%s=: %w", directive, err))
		}
		for _, a := range assignments {
			options = append(options, unit.NewUnitOption(s.name, directive, a))
		}
	}
	return options, errors.Join(faults...)
}
