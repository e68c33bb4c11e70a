package systemd

import (
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/coreos/go-systemd/v22/unit"
)

// Text renders the unit file. Every directive that can't be written is in the error, by its
// name.
func (u Unit) Text() (string, error) {
	var options []*unit.UnitOption
	var faults []error
	for _, section := range []struct {
		name   string
		fields any
	}{{"Unit", u.Unit}, {"Service", u.Service}, {"Timer", u.Timer}, {"Install", u.Install}} {
		fields := reflect.ValueOf(section.fields)
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
				options = append(options, unit.NewUnitOption(section.name, directive, a))
			}
		}
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
