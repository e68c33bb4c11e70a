package systemd

import (
	"fmt"
	"reflect"
)

// Set gives a directive of the section the assignments of a unit file, one for each line, instead
// of those that it has. None at all leaves the directive to systemd's default.
func (s *ServiceSection) Set(directive string, assignments ...string) error {
	field := reflect.ValueOf(s).Elem().FieldByName(directive)
	if !field.IsValid() {
		return fmt.Errorf("%s=: no field stands for it", directive)
	}
	field.SetZero()
	if len(assignments) == 0 {
		return nil
	}
	if err := readerOf(field).read(assignments); err != nil {
		return fmt.Errorf("%s=: %w", directive, err)
	}
	return nil
}
